import { existsSync } from 'node:fs';
import { mkdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { COMMAND_NAMES } from '../../src/cli/commands.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { holdfast } from '../support/processes/process.ts';

/*
 * Which files Holdfast may obey. It trusts the user's own directories, the environment, and files that an option or a
 * variable names. It does not trust the current directory, which may be a clone of a stranger's repository.
 */

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const RECORDER = fileURLToPath(new URL('../support/preload/opened-files.cjs', import.meta.url));
const URL_ = 'http://127.0.0.1:1/mcp';
const EVIL = 'touch OWNED; echo OWNED';

/** Files that some program reads from its current directory. */
const PLANTED: Readonly<Record<string, string>> = {
  '.env': `HOLDFAST_SEALING_KEY_COMMAND=${EVIL}\nHOLDFAST_STORE=postgres://127.0.0.1:1/x\n`,
  '.npmrc': 'node-options=--require ./evil.cjs\n',
  '.holdfast/config.json': '{"keyring": "memory"}',
  'holdfast.json': '{"keyring": "memory"}',
  'config.json': '{"keyring": "memory"}',
  '.config/holdfast/config.json': '{"keyring": "memory"}',
  'holdfast/config.json': '{"keyring": "memory"}',
  '.pgpass': '*:*:*:*:x\n',
  '.mcp.json': `{"mcpServers": {"a": {"url": "${URL_}"}, "__proto__": {"x": 1}}}`,
  '.claude.json': `{"mcpServers": {"a": {"url": "${URL_}"}}}`,
  '.claude/.credentials.json': `{"mcpOAuth": {"a": {"serverUrl": "${URL_}", "accessToken": "planted"}}}`,
  '.cursor/mcp.json': `{"mcpServers": {"a": {"url": "${URL_}"}}}`,
  '.vscode/mcp.json': `{"servers": {"a": {"url": "${URL_}"}}}`,
  '.codex/config.toml': `[__proto__]\nHOLDFAST_SEALING_KEY_COMMAND = "sh -c '${EVIL}'"\n`,
  '.codex/.credentials.json': `{"a|1": {"server_url": "${URL_}", "access_token": "planted"}}`,
  '.gemini/settings.json': `{"mcpServers": {"a": {"httpUrl": "${URL_}"}}}`,
  '.gemini/mcp-oauth-tokens.json': `[{"serverName": "a", "mcpServerUrl": "${URL_}", "token": {"accessToken": "planted"}}]`,
  'opencode.json': `{"mcp": {"a": {"type": "remote", "url": "${URL_}"}}}`,
  'opencode.jsonc': `{"mcp": {"a": {"type": "remote", "url": "${URL_}"}}}`,
  'agent.yaml': 'agents: {root: {toolsets: [{__proto__: {x: 1}}]}}\n',
  '.mcp-auth/mcp-remote-v1/a_tokens.json': '{"access_token": "planted"}',
  'package.json': '{"type": "module", "main": "evil.cjs"}',
  'evil.cjs': 'require("node:fs").writeFileSync("OWNED", "")',
  ...Object.fromEntries(
    ['pg', 'ioredis', 'koffi', 'yaml', 'jsonc-parser', 'toml-eslint-parser'].flatMap((name) => [
      [`node_modules/${name}/package.json`, `{"name": "${name}", "main": "index.js"}`],
      [`node_modules/${name}/index.js`, 'require("node:fs").writeFileSync("OWNED", "")'],
    ]),
  ),
};

/** Arguments with which each command runs as far as it can without a login, and ends. */
const CALLS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  login: [[URL_, '--no-browser', '--timeout', '1']],
  configure: [
    ['cursor', URL_],
    ['cursor', URL_, '--print'],
    ['codex', URL_],
    ['codex', URL_, '--remove'],
  ],
  export: [[URL_, '--reveal', '--yes']],
  key: [['new']],
  store: [['status']],
  refresher: [['--once']],
  import: [
    ['--list'],
    ['mcp-remote', '--yes'],
    ['codex', '--yes'],
    ['opencode', '--yes'],
    ['gemini', '--yes'],
  ],
  list: [[], ['--json']],
  token: [[URL_]],
  headers: [[URL_]],
  logout: [[URL_]],
  doctor: [[]],
  proxy: [[URL_, '--timeout', '1']],
  run: [[URL_, '--', 'true']],
  send: [[URL_, '--to', 'x']],
  receive: [['--blob', '/nonexistent']],
  rekey: [[]],
  completion: [['bash']],
};

async function clone() {
  const directory = await realpath(await temporaryDirectory());
  const [home, repository] = [join(directory, 'home'), join(directory, 'clone')];
  for (const [name, text] of Object.entries(PLANTED)) {
    await mkdir(dirname(join(repository, name)), { recursive: true });
    await writeFile(join(repository, name), text);
  }
  await mkdir(home, { mode: 0o700 });
  const log = join(directory, 'log');
  return {
    repository,
    run: async (args: readonly string[]) => {
      await writeFile(log, '');
      const ended = await holdfast(
        args,
        {
          HOME: home,
          HOLDFAST_KEYRING: 'file',
          OPENED_FILES: log,
          NODE_OPTIONS: `--require ${RECORDER}`,
          // The loader of the sources reads its settings from the current directory unless told their path.
          TSX_TSCONFIG_PATH: join(ROOT, 'tsconfig.json'),
        },
        repository,
      ).ended;
      const opened = (await readFile(log, 'utf8')).split('\n').filter((path) => path !== '');
      return { ...ended, opened, here: opened.filter((path) => path.startsWith(`${repository}/`)) };
    },
  };
}

describe('a directory full of a stranger’s files', () => {
  test('covers every command with a call', () => {
    expect(Object.keys(CALLS).toSorted()).toEqual(COMMAND_NAMES.toSorted());
  });

  test.each(
    Object.entries(CALLS).flatMap(([name, calls]) =>
      calls.map((args) => [[name, ...args].join(' '), name, args] as const),
    ),
  )(
    'reads and runs no file of the current directory in holdfast %s',
    async (_, name, args) => {
      const { repository, run } = await clone();
      const { out, err, here, opened } = await run([name, ...args]);
      expect(here).toEqual([]);
      expect(existsSync(join(repository, 'OWNED'))).toBe(false);
      expect(out + err).not.toContain('planted');
      // Proves that the recorder works: the command opened some file of the user.
      if (!['completion', 'key', 'receive', 'send'].includes(name)) expect(opened.length).toBeGreaterThan(0);
    },
    60_000,
  );

  test.each([
    [['configure', 'claude-code', URL_, '--scope', 'project'], ['.mcp.json']],
    [['configure', 'codex', URL_, '--scope', 'project'], ['.codex/config.toml']],
    [['configure', 'docker-agent', URL_, '--file', 'agent.yaml'], ['agent.yaml']],
    [['import', 'codex', '--file', '.codex/.credentials.json', '--list'], ['.codex/.credentials.json']],
  ])('reads only the file that %j names', async (args, names) => {
    const { repository, run } = await clone();
    const { here } = await run(args);
    const files = here.filter((path) => path !== dirname(join(repository, names[0] ?? '')));
    expect([...new Set(files)]).toEqual(names.map((name) => join(repository, name)));
    expect(existsSync(join(repository, 'OWNED'))).toBe(false);
  });
});
