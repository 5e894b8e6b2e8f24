import { execFile } from 'node:child_process';
import { access, chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { CLIENTS } from '../../src/configure/clients.ts';
import { configure } from '../../src/configure/configure.ts';
import { helperCommand } from '../../src/configure/entry.ts';
import { formatOf } from '../../src/configure/open-format.ts';
import { canonicalResource, DEFAULT_ACCOUNT } from '../../src/credential.ts';
import { InvalidArgumentError } from '../../src/errors.ts';
import { shellPath } from '../../src/system/files/storage-error.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { requirement } from '../support/requirement.ts';

/* The text that Holdfast writes into other programs' files and into shell commands. */

const NO_SH = requirement('there is no sh', process.platform !== 'win32');
const run = promisify(execFile);

const LABELS = [
  'a"b',
  "a'b",
  'a\\',
  'a\\"',
  '$(touch HACK)',
  '`touch HACK`',
  '; touch HACK',
  '& touch HACK &',
  '"; touch HACK; "',
  '%PATH%',
  '!x!',
  '${HOME}',
  '-x',
  '--store',
  '__proto__',
  'x]\u2028[y',
  '"}},"evil":{"command":"sh"',
  "']]",
  '# c',
  'a: b',
  '\u202e',
  '{{x}}',
  '<a>',
  '*',
  '~',
  '|',
  'é',
];
const URLS = [
  'https://x.example/mcp',
  'https://x.example/m"cp',
  "https://x.example/m'cp?a='b'",
  'https://x.example/mcp?q="}],"evil":1',
  'https://x.example/$(touch%20HACK)',
  'https://x.example/mcp?a=`id`&b=|x;y',
  'https://x.example/%22',
  'https://x.example/mcp?a={b}&c=[d]',
];

describe.each([
  ['cursor', 'JSON', '{"mcpServers":{"keep":{"command":"k"}},"other":[1,2]}'],
  ['codex', 'TOML', 'model = "x"\n[mcp_servers.keep]\ncommand = "k"\n'],
  [
    'docker-agent',
    'YAML',
    'agents:\n  root:\n    model: x\n    toolsets:\n      - type: mcp\n        command: k\n',
  ],
] as const)('the %s entry in %s', (id, name, start) => {
  // 224 cases for each format.
  test.each(URLS)(
    'holds exactly the intended words for %j and every hostile label, and leaves the rest',
    async (url) => {
      const format = await formatOf(name);
      const client = CLIENTS.find((one) => one.id === id);
      if (client === undefined) throw new Error(`no client ${id}`);
      const file = join(await temporaryDirectory(), 'client.conf');
      const resource = canonicalResource(url);
      let written = 0;
      for (const account of [DEFAULT_ACCOUNT, ...LABELS]) {
        await writeFile(file, start);
        try {
          await configure({
            client,
            login: { resource, account },
            file,
            scope: 'user',
            program: ['holdfast'],
          });
        } catch (error) {
          // A refusal is as good, if nothing was written.
          expect(error).toBeInstanceOf(InvalidArgumentError);
          expect(await readFile(file, 'utf8')).toBe(start);
          continue;
        }
        written += 1;
        const values: unknown = format.parse(await readFile(file, 'utf8'));
        const args = ['proxy', resource, ...(account === DEFAULT_ACCOUNT ? [] : [`--account=${account}`])];
        const [entry, ...others] = entriesIn(values).filter(({ command }) => command === 'holdfast');
        expect([account, entry?.['args'], others]).toEqual([account, args, []]);
        // Without its entry, the file holds the same values as before.
        const before = JSON.stringify(format.parse(start));
        expect(JSON.stringify(without(values, entry))).toBe(before);
      }
      expect(written).toBeGreaterThan(LABELS.length / 2);
    },
  );
});

describe.skipIf(NO_SH)('a command line for a shell', () => {
  async function reader() {
    const directory = await temporaryDirectory();
    const show = join(directory, 'show');
    await writeFile(show, '#!/bin/sh\nfor a in "$@"; do printf "%s\\n" "$a"; done\n');
    await chmod(show, 0o755);
    return { directory, show };
  }

  test.each(URLS)(
    'sh reads a headers helper’s command for %j as intended, or Holdfast refuses it',
    async (url) => {
      const { directory, show } = await reader();
      const resource = new URL(url).href;
      for (const account of LABELS) {
        let line: string;
        try {
          line = helperCommand([show], { resource, account });
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidArgumentError);
          continue;
        }
        const { stdout } = await run('sh', ['-c', line], { cwd: directory });
        expect(stdout).toBe(`${['headers', resource, '--json', `--account=${account}`].join('\n')}\n`);
      }
      await expect(access(join(directory, 'HACK'))).rejects.toThrow('ENOENT');
    },
  );

  test('a hint quotes every hostile word as one word', async () => {
    const { directory, show } = await reader();
    const words = [...LABELS, ...URLS, 'read:$(touch HACK)', "a'b;touch HACK", 'a b'];
    const { stdout } = await run('sh', ['-c', `${show} ${words.map(shellPath).join(' ')}`], {
      cwd: directory,
    });
    expect(stdout).toBe(`${words.join('\n')}\n`);
    await expect(access(join(directory, 'HACK'))).rejects.toThrow('ENOENT');
  });
});

type Fields = Readonly<Record<string, unknown>>;

/** Every nested object that has a `command`. */
function entriesIn(values: unknown): Fields[] {
  if (typeof values !== 'object' || values === null) return [];
  const own = Object.hasOwn(values, 'command') ? [values as Fields] : [];
  return [...own, ...Object.values(values).flatMap(entriesIn)];
}

function without(values: unknown, entry: unknown): unknown {
  if (typeof values !== 'object' || values === null) return values;
  if (Array.isArray(values)) return values.filter((one) => one !== entry).map((one) => without(one, entry));
  const kept = Object.entries(values).filter(([, value]) => value !== entry);
  return Object.fromEntries(kept.map(([key, value]) => [key, without(value, entry)]));
}
