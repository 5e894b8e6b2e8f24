import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { start, TYPESCRIPT } from '../../support/processes/process.ts';
import { installed, requirement } from '../../support/requirement.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';
import { commandLine } from '../../support/transcript.ts';

const BIN = fileURLToPath(new URL('../../../src/cli/bin.ts', import.meta.url));
const NO_BASH = requirement('bash is not installed', installed('bash'));

let servers: Servers;
let directory: string;
let variables: Record<string, string>;
beforeAll(async () => {
  servers = await startServers();
  directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  const at = commandLine(join(directory, 'home'));
  await at.run(['login', servers.resource]);
  // The completion scripts call `holdfast` by its name.
  await mkdir(join(directory, 'bin'));
  await writeFile(
    join(directory, 'bin', 'holdfast'),
    `#!/bin/sh\nexec ${[process.execPath, ...TYPESCRIPT, BIN].map((word) => `'${word}'`).join(' ')} "$@"\n`,
    { mode: 0o755 },
  );
  variables = {
    PATH: `${join(directory, 'bin')}:${process.env['PATH']}`,
    HOME: directory,
    HOLDFAST_HOME: at.home,
  };
  for (const shell of ['bash', 'zsh', 'fish']) {
    await writeFile(join(directory, shell), (await at.run(['completion', shell])).out);
  }
});
afterAll(async () => {
  await Promise.all([servers.stop(), rm(directory, { recursive: true })]);
});

/** Returns the candidates of bash for the last word of the line, split as readline splits it. */
async function candidates(line: string, wordbreaks = ' \t\n"\'@><=;|&(:'): Promise<string[]> {
  const script = `
    source ${directory}/bash
    COMP_WORDBREAKS=$1 COMP_LINE=$2 COMP_POINT=\${#2}
    shift 2
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _holdfast
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const words = line.split(wordbreaks.includes(':') ? /\s+|(:)/ : /\s+/).filter((word) => word !== undefined);
  const typed = words.filter((word, index) => word !== '' || index === words.length - 1);
  // After a colon, readline passes the colon itself as the current word.
  if (typed.at(-1) === '' && typed.at(-2) === ':') typed.pop();
  const ended = await start('bash', ['-c', script, 'bash', wordbreaks, line, ...typed], variables).ended;
  expect({ code: ended.code, err: ended.err }).toEqual({ code: 0, err: '' });
  return ended.out.split('\n').filter((word) => word !== '');
}

describe.skipIf(NO_BASH !== undefined)('completion in bash', () => {
  test.each<[string, string[]]>([
    ['holdfast tok', ['token']],
    ['holdfast lo', ['login', 'logout']],
    ['holdfast list --j', ['--json']],
    ['holdfast list --keyring f', ['file']],
    ['holdfast token --timeout ', []],
    ['holdfast completion ', ['bash', 'zsh', 'fish']],
    ['holdfast help doc', ['doctor']],
    ['holdfast list x', []],
    ['holdfast frobnicate --j', []],
    ['holdfast token https', []],
  ])('completes "%s"', async (line, expected) => {
    expect(await candidates(line)).toEqual(expected);
  });

  test('offers the logged-in servers after any typed part of the URL', async () => {
    const { resource } = servers;
    const { port } = new URL(resource);
    const after = (typed: string) => resource.slice(typed.length);
    for (const [typed, offered] of [
      ['', resource],
      ['htt', resource],
      ['http:', after('http:')],
      ['http://127', after('http:')],
      ['http://127.0.0.1:', after('http://127.0.0.1:')],
      [`http://127.0.0.1:${port.slice(0, 2)}`, after('http://127.0.0.1:')],
    ] as const) {
      expect(await candidates(`holdfast token ${typed}`)).toEqual([offered]);
    }
  });

  test('offers whole URLs when bash does not split words at colons', async () => {
    expect(await candidates('holdfast token http://127', ' \t\n')).toEqual([servers.resource]);
  });
});

describe('the completion scripts', () => {
  test('generates scripts that every installed shell parses', async () => {
    for (const shell of ['bash', 'zsh', 'fish'].filter(installed)) {
      const ended = await start(shell, ['-n', join(directory, shell)], variables).ended;
      expect({ shell, ...ended }).toEqual({ shell, code: 0, out: '', err: '' });
    }
  });
});
