import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { SCRIPTED_BROWSER } from '../support/transcript.ts';
import { command, userHome } from './command.ts';

/*
 * The arguments of the programs that Holdfast starts. Every user of a machine can read them with `ps` or in /proc, so
 * no secret may be in them. The only exception is necessary: the browser gets the authorization URL with its `state`
 * (SECURITY.md).
 */

const SOURCES = fileURLToPath(new URL('../../src/', import.meta.url));
const RECORDER = fileURLToPath(new URL('../support/preload/started-programs.cjs', import.meta.url));

async function sourcesWith(pattern: RegExp): Promise<string[]> {
  const files = (await readdir(SOURCES, { recursive: true })).filter((name) => name.endsWith('.ts'));
  const texts = await Promise.all(files.map((name) => readFile(join(SOURCES, name), 'utf8')));
  return files.filter((_, at) => pattern.test(texts[at] ?? '')).toSorted();
}

describe('the programs that Holdfast starts', () => {
  test('Holdfast starts programs in three files only, which the test below drives', async () => {
    expect(await sourcesWith(/node:child_process|node:cluster|\bprocess\.binding\b/)).toEqual([
      'system/processes/browser.ts',
      'system/processes/command-output.ts',
      'system/processes/run-command.ts',
    ]);
  });

  test.each([
    ['openBrowser', ['cli/commands/login-interaction.ts', 'proxy/login/login-coordinator.ts']],
    ['commandOutput', ['keyring/provided/key-source.ts']],
    ['runCommand', ['cli/commands/run.ts']],
  ])('only the known files call %s', async (name, callers) => {
    expect(await sourcesWith(new RegExp(`(?<!function )\\b${name}\\(`))).toEqual(callers);
  });
});

describe('secrets in the arguments of programs that Holdfast starts', () => {
  const holdfast = command();
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers();
  });
  afterAll(() => servers.stop());

  /** Runs the commands in one home. @returns the started programs, the sent forms and the outputs */
  async function recorded(
    commands: readonly (readonly string[])[],
    home: string,
    variables: Readonly<Record<string, string>>,
  ) {
    const journal = join(home, 'journal');
    const outputs: string[] = [];
    for (const args of commands) {
      const { code, out, err } = await holdfast.run(args, {
        home,
        variables: {
          ...variables,
          BROWSER: SCRIPTED_BROWSER,
          NODE_OPTIONS: `--require ${RECORDER}`,
          HOLDFAST_TEST_JOURNAL: journal,
        },
      });
      expect({ args, code, err: code === 0 ? '' : err }).toEqual({ args, code: 0, err: '' });
      outputs.push(out);
    }
    const lines = (await readFile(journal, 'utf8')).trim().split('\n');
    const notes = lines.map((line) => JSON.parse(line) as { args?: string[]; sent?: string });
    return {
      outputs,
      started: notes.flatMap(({ args }) => (args === undefined ? [] : [args])),
      forms: notes.flatMap(({ sent }) => (sent === undefined ? [] : [new URLSearchParams(sent)])),
    };
  }

  /** The values of secret parameters sent to the authorization server (RFC 6749, RFC 7636, RFC 7009). */
  function secretsIn(forms: readonly URLSearchParams[]): string[] {
    const names = ['code', 'code_verifier', 'refresh_token', 'client_secret', 'token'];
    return forms.flatMap((form) => names.flatMap((name) => form.getAll(name)));
  }

  test('no program gets a secret as an argument, except the browser, whose URL has the state', async () => {
    const home = await userHome();
    const key = (await holdfast.run(['key', 'new'], { home })).out.trim();
    expect(key).toMatch(/^[\w-]{43}$/);
    await writeFile(join(home, 'key.txt'), `${key}\n`, { mode: 0o600 });
    const { resource } = servers;
    const { started, forms, outputs } = await recorded(
      [
        ['login', resource],
        ['token', resource],
        ['run', resource, '--', process.execPath, '-e', '0'],
        ['token', resource, '--refused', '1'],
        ['export', resource, '--reveal', '--yes', '--out', join(home, 'login.json')],
        ['doctor'],
        ['list'],
        ['logout', resource],
      ],
      home,
      { HOLDFAST_KEYRING: 'key-command', HOLDFAST_SEALING_KEY_COMMAND: `/bin/cat ${join(home, 'key.txt')}` },
    );
    const programs = new Set(started.map(([program]) => program));
    expect(programs).toEqual(new Set([process.execPath, '/bin/cat', SCRIPTED_BROWSER]));
    const browsers = started.filter(([program]) => program === SCRIPTED_BROWSER);
    expect(browsers.map(({ length }) => length)).toEqual([2]);
    const url = new URL(browsers[0]?.[1] ?? '');
    const state = url.searchParams.get('state') ?? '';
    expect(state.length).toBeGreaterThan(20);
    const secrets = [key, ...(outputs[1] ?? '').trim().split('\n'), ...secretsIn(forms)];
    // The code, its verifier, the refresh token, the revoked token, the access token and the sealing key.
    expect(new Set(secrets).size).toBeGreaterThanOrEqual(5);
    const holding = (secret: string) => started.filter((args) => args.some((word) => word.includes(secret)));
    expect(secrets.filter((secret) => secret.length < 16 || holding(secret).length > 0)).toEqual([]);
    expect(holding(state)).toEqual(browsers);
  });
});
