import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  generateHandoverKeys,
  MAX_BLOB_CHARACTERS,
  openBlob,
  readBlob,
  sealBlob,
} from '../../../src/handover/blob.ts';
import { codeOf, parseCode } from '../../../src/handover/code.ts';
import { hostileTexts } from '../inputs.ts';
import { checkFailure, feed, type Target } from '../target.ts';

/* Codes and blobs of a hand-over, which arrive by chat, terminal or mail. */

const DIGITS = Array.from('0123456789ABCDEFGHJKMNPQRSTVWXYZ');

export const HANDOVER: readonly Target[] = [
  {
    name: 'handover-code',
    title: 'refuses a hand-over code with a changed letter',
    runs: 1000,
    async open() {
      const { publicKey } = await generateHandoverKeys();
      const { text } = codeOf(publicKey);
      return {
        property: feed(
          hostileTexts(
            [text, text.replaceAll('-', ' '), text.toLowerCase()],
            [...DIGITS, 'O', 'l', '-', ' ', 'é'],
            4096,
          ),
          (code) => {
            try {
              // An accepted code has the same key, except one in a thousand million whose checksum matches by chance.
              assert.deepEqual(parseCode(code).publicKey, publicKey);
            } catch (error) {
              checkFailure(error, ['invalid-argument']);
            }
          },
        ),
      };
    },
  },
  {
    name: 'handover-blob',
    title: 'refuses to open an altered hand-over blob',
    runs: 400,
    async open() {
      const keys = await generateHandoverKeys();
      const code = codeOf(keys.publicKey);
      const about = {
        resource: 'https://a.example/mcp',
        account: 'default',
        mode: 'fresh',
        expiresAt: 4e12,
      } as const;
      const plaintext = Buffer.from('the login');
      const blob = await sealBlob(code, about, plaintext);
      const [begin = '', ...lines] = blob.split('\n');
      const end = lines.pop() ?? '';
      const header = (values: unknown) => Buffer.from(JSON.stringify(values)).toString('base64url');
      const rest = lines.join('').split('.').slice(1).join('.');
      const withHeader = (values: unknown) => `${begin}\n${header(values)}.${rest}\n${end}`;
      const headers = fc
        .record({
          v: fc.oneof(fc.constant(1), fc.double(), fc.string()),
          to: fc.oneof(fc.constant(code.id), fc.string()),
          resource: fc.oneof(fc.constant(about.resource), fc.webUrl(), fc.string({ unit: 'binary' })),
          account: fc.oneof(fc.constant('default'), fc.string({ unit: 'binary' })),
          mode: fc.constantFrom('access-token', 'fresh', 'move', 'all'),
          expiresAt: fc.oneof(fc.nat(), fc.double()),
          __proto__: fc.constant(null),
        })
        .map(withHeader);
      let opened = 0;
      return {
        property: feed(
          fc.oneof(
            {
              weight: 3,
              arbitrary: hostileTexts(
                [blob, `> ${blob}\r\nregards`],
                [begin, end, '.', '\n', ' ', 'A', '-', '='],
                MAX_BLOB_CHARACTERS + 10,
              ),
            },
            { weight: 1, arbitrary: headers },
            { weight: 1, arbitrary: fc.json().map((text) => withHeader(JSON.parse(text))) },
          ),
          async (text) => {
            try {
              const content = Buffer.from(await openBlob(readBlob(text), keys));
              // Only the surrounding text or its line breaks can have changed.
              assert.ok(content.equals(plaintext) && text.replaceAll(/\s/g, '').includes(lines.join('')));
              opened += 1;
            } catch (error) {
              checkFailure(error, ['handover-damaged', 'handover-newer']);
            }
          },
        ),
        reached: () => assert.ok(opened > 0),
      };
    },
  },
];
