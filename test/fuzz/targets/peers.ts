import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { configuredServers } from '../../../src/import/configured-servers.ts';
import { findLogins } from '../../../src/import/move.ts';
import type { SourceContext } from '../../../src/import/source.ts';
import { sourceNamed } from '../../../src/import/sources.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { ACCESS, hostileTexts, REFRESH } from '../inputs.ts';
import { checkFailure, feed, type Target } from '../target.ts';

/* The files in which other programs store their logins. */

const FIXTURES = fileURLToPath(new URL('../../fixtures/peers', import.meta.url));
const RESOURCE = 'https://mcp.example/mcp';
const PEERS = [
  'claude-code',
  'cline',
  'codex',
  'gemini',
  'goose',
  'inspector',
  'mcp-remote',
  'mcporter',
  'opencode',
];
const WORDS = [
  '{',
  '}',
  '[',
  ']',
  ':',
  ',',
  '"',
  '\n',
  'null',
  '-1',
  '1e999',
  'https://',
  'access_token',
  'url',
  '|',
  '- ',
];

export const PEER_FILES: readonly Target[] = PEERS.map((id) => ({
  name: `import-${id}`,
  title: `reads logins from the files of ${id}, or fails without showing a token`,
  runs: 150,
  async open() {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-fuzz-'));
    const environment = { ...processEnvironment(), variables: {}, homeDirectory: directory };
    const place: SourceContext = {
      environment,
      file: undefined,
      urls: [RESOURCE],
      configured: () => configuredServers(environment),
    };
    const files = await fixtures(id);
    for (const { path } of files) await mkdir(dirname(join(directory, path)), { recursive: true });
    const inputs = fc.tuple(
      ...files.map(({ path, text }) =>
        fc.record({
          path: fc.constant(path),
          text: fc.oneof(fc.constant(text), hostileTexts([text], WORDS, 64 * 1024)),
        }),
      ),
    );
    return {
      property: feed(inputs, async (list) => {
        for (const { path, text } of list) {
          const filled = text.replaceAll('$ACCESS', ACCESS).replaceAll('$REFRESH', REFRESH);
          await writeFile(join(directory, path), filled, { mode: 0o600 });
        }
        try {
          await findLogins(sourceNamed(id), place);
        } catch (error) {
          checkFailure(error, ['invalid-argument', 'storage-unreadable']);
        }
      }),
      close: () => rm(directory, { recursive: true, force: true }),
    };
  },
}));

/** The files of another program, complete except for the tokens. */
async function fixtures(id: string): Promise<{ path: string; text: string }[]> {
  const values: Readonly<Record<string, string>> = {
    RESOURCE,
    ENCODED_RESOURCE: encodeURIComponent(RESOURCE),
    ISSUER: 'https://as.example',
    TOKEN_ENDPOINT: 'https://as.example/token',
    CLIENT: 'a-client',
    EXPIRES_MS: '4000000000000',
    EXPIRES_S: '4000000000',
    WRITTEN_MS: '1700000000000',
    WRITTEN_S: '1700000000',
    WRITTEN_ISO: '2023-11-14T22:13:20.000Z',
  };
  const md5 = createHash('md5').update(RESOURCE).digest('hex');
  const root = join(FIXTURES, id);
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const found = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  return Promise.all(
    found.map(async (file) => ({
      path: file.slice(root.length + 1).replace('MD5', md5),
      text: (await readFile(file, 'utf8'))
        .replaceAll(
          /"\$(EXPIRES_MS|EXPIRES_S|WRITTEN_MS|WRITTEN_S)"/g,
          (_, name: string) => values[name] ?? '',
        )
        .replaceAll(/\$([A-Z_]+)/g, (whole, name: string) => values[name] ?? whole),
    })),
  );
}
