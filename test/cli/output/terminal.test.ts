import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { start, TYPESCRIPT } from '../../support/processes/process.ts';
import { installed, requirement } from '../../support/requirement.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';
import { commandLine } from '../../support/transcript.ts';

const BIN = fileURLToPath(new URL('../../../src/cli/bin.ts', import.meta.url));
const NO_SCRIPT = requirement(
  'script (util-linux) or stty is not installed',
  process.platform === 'linux' && installed('script') && installed('stty'),
);
const ESCAPE = '\u001b[';

let servers: Servers;
let home: string;
beforeAll(async () => {
  servers = await startServers();
  home = join(await mkdtemp(join(tmpdir(), 'holdfast-test-')), 'home');
  await commandLine(home).run(['login', servers.resource]);
});
afterAll(async () => {
  await Promise.all([servers.stop(), rm(join(home, '..'), { recursive: true })]);
});

/** Runs the command on a terminal of that width, and returns everything that it showed. */
async function onTerminal(
  args: readonly string[],
  options: { columns?: number; variables?: Readonly<Record<string, string>> } = {},
): Promise<string> {
  const command = [process.execPath, ...TYPESCRIPT, BIN, ...args].map((word) => `'${word}'`).join(' ');
  const { out } = await start(
    'script',
    ['-qec', `stty cols ${options.columns ?? 200} && ${command}`, '/dev/null'],
    { HOME: '/nonexistent', SHELL: '/bin/sh', TERM: 'xterm', HOLDFAST_HOME: home, ...options.variables },
  ).ended;
  return out.replaceAll('\r\n', '\n');
}

describe.skipIf(NO_SCRIPT !== undefined)('output on a terminal', () => {
  test('colors the important word', async () => {
    expect(await onTerminal(['token', 'nonsense'])).toContain(`${ESCAPE}31merror:${ESCAPE}39m "nonsense"`);
    expect(await onTerminal(['doctor'])).toContain(`\n${ESCAPE}32mok${ESCAPE}39m    versions`);
  });

  test.each([{ NO_COLOR: '1' }, { TERM: 'dumb' }])('prints no color with %j', async (variables) => {
    const shown = await Promise.all([
      onTerminal(['token', 'nonsense'], { variables }),
      onTerminal(['doctor'], { variables }),
    ]);
    for (const text of shown) {
      expect(text.length).toBeGreaterThan(0);
      expect(text).not.toContain(ESCAPE);
    }
  });

  test('shows a table when it fits, and otherwise a block for each login', async () => {
    const shown = async (columns: number) =>
      commandLine(home, [servers])
        .transcript({ code: 0, out: await onTerminal(['list'], { columns }), err: '' })
        .replace('exit 0\n--- stdout\n', '');
    expect(await shown(100)).toMatchInlineSnapshot(`
      "RESOURCE                    ACCOUNT  STATE  EXPIRES        SCOPES      KEYRING
      http://127.0.0.1:MCP-1/mcp  default  fresh  in NN minutes  tools:call  file"
    `);
    expect(await shown(60)).toMatchInlineSnapshot(`
      "http://127.0.0.1:MCP-1/mcp
        account  default
        state    fresh
        expires  in NN minutes
        scopes   tools:call
        keyring  file"
    `);
  });

  test('wraps the findings of doctor at the edge, but no command to copy', async () => {
    const text = await onTerminal(['doctor'], { columns: 60, variables: { NO_COLOR: '1' } });
    const lines = text.split('\n').filter((line) => !line.includes('→') && !line.includes(home));
    expect(lines.filter((line) => line.length > 60)).toEqual([]);
    expect(text).toContain('export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus');
  });
});

describe('output not on a terminal', () => {
  test('prints no color', async () => {
    const at = commandLine(home);
    const ended = await Promise.all([
      at.run(['doctor'], { TERM: 'xterm' }),
      at.run(['token', 'nonsense'], { TERM: 'xterm' }),
    ]);
    for (const { out, err } of ended) expect(`${out}${err}`).not.toContain(ESCAPE);
  });
});
