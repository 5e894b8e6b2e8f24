import assert from 'node:assert/strict';
import { createCipheriv, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { parseCredential, serializeCredential } from '../../../src/credential-record.ts';
import { openBundle, sealBundle } from '../../../src/docker-agent/bundle.ts';
import { credentialOf, parseStates, serializeStates, stateFor } from '../../../src/docker-agent/entry.ts';
import { decryptItem, encryptItem, MAX_ITEM_BYTES } from '../../../src/keyring/file/file-item.ts';
import { givenKeys, keyText, writtenKeys } from '../../../src/keyring/key-text.ts';
import { MAX_RECORD_BYTES, seal, unseal } from '../../../src/sealing.ts';
import { Secret } from '../../../src/secret.ts';
import { sampleCredential } from '../../support/homes/credential.ts';
import { ACCESS, hostileBytes, hostileTexts, mutated, REFRESH } from '../inputs.ts';
import { checkFailure, feed, type Target } from '../target.ts';

/* Data on the disk or in an engine, where others may write: records, key files, docker-agent's bundle. */

const URL = 'https://mcp.example/mcp';
const CREDENTIAL = sampleCredential(URL, {
  tokens: {
    accessToken: new Secret(ACCESS),
    tokenType: 'Bearer',
    refreshToken: new Secret(REFRESH),
    obtainedAt: 1,
    expiresAt: 2,
  },
});
const BASE64URL = [
  '.',
  '..',
  'A',
  '-',
  '_',
  '=',
  '+',
  '/',
  '\n',
  'eyJhbGciOiJkaXIifQ',
  'eyJhbGciOiJub25lIn0',
];
const JSON_WORDS = ['{', '}', '[', ']', ':', ',', '"', 'null', '1e999', '-0', '"v":2', '"tokens"', '\\u0000'];

export const SEALED: readonly Target[] = [
  {
    name: 'record',
    title: 'refuses to open an altered record',
    runs: 1000,
    open() {
      const key = { kid: 'k', key: randomBytes(32) };
      const plaintext = Buffer.from('what was sealed');
      const record = seal(plaintext, key, 'id');
      const others = [seal(plaintext, key, 'other'), seal(plaintext, { ...key, kid: 'l' }, 'id')];
      return {
        property: feed(hostileTexts([record, ...others], BASE64URL, MAX_RECORD_BYTES + 10), (text) => {
          try {
            assert.ok(unseal(text, key, 'id').equals(plaintext) && text === record);
          } catch (error) {
            checkFailure(error, ['record-damaged']);
          }
        }),
      };
    },
  },
  {
    name: 'credential',
    title: 'reads a credential from a record and writes it unchanged, or refuses it',
    runs: 1000,
    open() {
      const good = Buffer.from(serializeCredential(CREDENTIAL))
        .toString('utf8')
        .replaceAll(ACCESS, '{access}');
      const values = JSON.parse(good) as Record<string, unknown>;
      const inputs = fc.oneof(
        hostileTexts([good], JSON_WORDS, 64 * 1024),
        mutated(
          Object.keys(values),
          fc.oneof(fc.nat(), fc.double(), fc.constantFrom({}, [], null, '', true)),
        ).map((change) => (typeof change === 'string' ? change : JSON.stringify({ ...values, ...change }))),
      );
      let read = 0;
      return {
        property: feed(inputs, (text) => {
          try {
            const credential = parseCredential(Buffer.from(text.replaceAll('{access}', ACCESS)));
            read += 1;
            assert.deepEqual(parseCredential(serializeCredential(credential)), credential);
          } catch (error) {
            checkFailure(error, ['record-damaged', 'record-newer']);
          }
        }),
        reached: () => assert.ok(read > 5),
      };
    },
  },
  {
    name: 'key-file',
    title: 'refuses to open an altered key file, whatever number of rounds it asks for',
    runs: 200,
    async open() {
      const item = { key: 'sealing-key', data: Buffer.from(keyText([randomBytes(32)])) };
      const text = await encryptItem(item, 'passphrase', 1);
      const [head = '', ...rest] = text.split('.');
      const header = JSON.parse(Buffer.from(head, 'base64url').toString()) as Record<string, unknown>;
      const rounds = fc.constantFrom(0, -1, 1.5, 1_300_001, 2 ** 31, 1e300, '1', null, [1], 2);
      const asked = fc
        .record({ p2c: rounds })
        .map((change) =>
          [Buffer.from(JSON.stringify({ ...header, ...change })).toString('base64url'), ...rest].join('.'),
        );
      const headers = fc.json().map((json) => [Buffer.from(json).toString('base64url'), ...rest].join('.'));
      const damaged = hostileTexts([text], BASE64URL, MAX_ITEM_BYTES + 10).filter(
        (one) => roundsIn(one) < 10_000,
      );
      return {
        property: feed(fc.oneof({ weight: 2, arbitrary: damaged }, asked, headers), async (one) => {
          try {
            const opened = await decryptItem(one, 'passphrase');
            assert.ok(one === text && Buffer.from(opened.data).equals(item.data));
          } catch (error) {
            checkFailure(error, ['keyring-broken']);
          }
        }),
      };
    },
  },
  {
    name: 'key-text',
    title: 'reads sealing keys of 32 bytes from a text, or says what is wrong without quoting it',
    runs: 1000,
    open() {
      const keys = [randomBytes(32), randomBytes(32)];
      const good = [keyText(keys), keys.map((key) => key.toString('base64')).join('\n')];
      return {
        property: feed(
          hostileTexts(good, ['A', '=', '==', '+', '/', ' ', '\n', '\t', '-'], 64 * 1024),
          (text) => {
            const given = givenKeys(text);
            if (Array.isArray(given)) assert.ok(given.length > 0 && given.every((key) => key.length === 32));
            else
              assert.match(
                given.fault,
                /^holds( no key| something that | as key \d+ something that )[\w ]*$/,
              );
            const written = writtenKeys(text);
            assert.ok(written === undefined || keyText(written) === text);
          },
        ),
      };
    },
  },
  {
    name: 'docker-agent-bundle',
    title: 'refuses to open an altered bundle of docker-agent, and checks the contents of a valid one',
    runs: 600,
    open() {
      const key = randomBytes(32);
      const bundle = sealBundle(new Map([[URL, { access_token: 'a' }]]), key);
      const within = hostileTexts(
        [`{"${URL}":{"access_token":"a","expires_at":"2026-01-01T00:00:00Z"}}`, 'null', '{}'],
        JSON_WORDS,
        64 * 1024,
      ).map((text) => {
        const cipher = createCipheriv('aes-256-gcm', key, Buffer.alloc(12));
        return Buffer.concat([
          Buffer.alloc(12),
          cipher.update(text, 'utf8'),
          cipher.final(),
          cipher.getAuthTag(),
        ]);
      });
      return {
        property: feed(fc.oneof(hostileBytes([bundle]), within), (bytes) => {
          try {
            for (const [url, entry] of openBundle(bytes, key) ?? []) credentialOf(url, entry, []);
          } catch (error) {
            checkFailure(error, ['storage-unreadable', 'record-damaged', 'invalid-argument']);
          }
        }),
      };
    },
  },
  {
    name: 'docker-agent-entry',
    title: 'reads a credential from an entry of docker-agent and its state, or fails without showing a token',
    runs: 1000,
    open() {
      const entry = {
        access_token: ACCESS,
        token_type: 'Bearer',
        expires_in: 3600,
        refresh_token: REFRESH,
        scope: 'a b',
        expires_at: '2026-01-01T00:00:00.123456789+02:00',
        client_id: 'c',
        client_secret: 's',
        auth_server: 'https://as.example',
        requested_scopes: ['a'],
      };
      const times = fc.constantFrom(
        '0001-01-01T00:00:00Z',
        '9999-99-99T99:99:99Z',
        '2026-02-30T00:00:00Z',
        1e300,
        -1,
      );
      const states = Buffer.from(serializeStates([stateFor(CREDENTIAL)])).toString('utf8');
      const inputs = fc.tuple(
        mutated(Object.keys(entry), fc.oneof(times, fc.double(), fc.string({ unit: 'binary' }))),
        hostileTexts([states], JSON_WORDS, 16 * 1024),
      );
      return {
        property: feed(inputs, ([change, beside]) => {
          try {
            const found = typeof change === 'string' ? change : { ...entry, ...change };
            const { tokens } = credentialOf(URL, found, parseStates(Buffer.from(beside)));
            assert.ok(Number.isSafeInteger(tokens.obtainedAt) && Number.isSafeInteger(tokens.expiresAt ?? 0));
          } catch (error) {
            checkFailure(error, ['record-damaged', 'record-newer']);
          }
          try {
            credentialOf(URL, typeof change === 'string' ? change : { ...entry, ...change }, []);
          } catch (error) {
            checkFailure(error, ['record-damaged']);
          }
        }),
      };
    },
  },
];

/** The number of PBKDF2 rounds in a text, as far as it can be read. */
function roundsIn(text: string): number {
  const header = Buffer.from(text.split('.')[0] ?? '', 'base64url').toString('latin1');
  return Number(/"p2c":\s*(\d+)/.exec(header)?.[1] ?? 0);
}
