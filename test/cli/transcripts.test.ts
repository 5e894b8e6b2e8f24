import { afterAll, beforeAll, expect, test } from 'vitest';
import { COMMAND_NAMES } from '../../src/cli/commands.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { type CommandLine, commandLine } from '../support/transcript.ts';

/*
 * The words of the command line in one file, so that a changed message shows as a changed line. Each command's own test
 * says which of them matter. `npx vitest run test/cli/transcripts.test.ts -u` writes the file again.
 */

const ELSEWHERE = 'https://mcp.example.com/mcp';

/** Time limit for all commands of one test, in milliseconds. */
const TIMEOUT_MS = 240_000;

/** Command lines that end without a server, in a home without a login. */
const WITHOUT_LOGIN: readonly (readonly string[])[] = [
  [],
  ...COMMAND_NAMES.map((name) => [name, '--help']),
  ['--version'],
  ['tokens', ELSEWHERE],
  ['token'],
  ['token', ELSEWHERE],
  ['token', ELSEWHERE, '--json'],
  ['token', ELSEWHERE, '--frobnicate'],
  ['token', ELSEWHERE, 'another'],
  ['token', ELSEWHERE, '--timeout', 'soon'],
  ['token', ELSEWHERE, '--account', ''],
  ['token', 'notion'],
  ['token', 'http://mcp.example.com/mcp'],
  ['headers', ELSEWHERE],
  ['run', ELSEWHERE],
  ['login', ELSEWHERE, '--no-input'],
  ['login', ELSEWHERE, '--device', '--paste'],
  ['login', ELSEWHERE, '--lenient', 'everything'],
  ['logout', ELSEWHERE],
  ['list'],
  ['list', '--json'],
  ['configure', 'emacs', ELSEWHERE],
  ['import', 'emacs'],
  ['export', ELSEWHERE],
  ['send', ELSEWHERE, '--to', 'not-a-code'],
  ['key', 'old'],
  ['store'],
];

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function freshHome(): Promise<CommandLine> {
  return commandLine((await temporaryHome()).path, [servers]);
}

/** The transcripts of the command lines, run one after the other. */
async function session(at: CommandLine, lines: readonly (readonly string[])[]): Promise<string> {
  const told: string[] = [];
  for (const args of lines) {
    const shown = ['holdfast', ...args.map((word) => (/^[\w:/.-]+$/.test(word) ? word : `'${word}'`))].join(
      ' ',
    );
    told.push(`$ ${shown.replace(servers.resource, 'URL')}\n${await at.told(args)}\n`);
  }
  return told.join('\n');
}

/** The names and types of a JSON value. The items of a list count together, since their number depends on the machine. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return [sorted(Object.assign({}, ...value.map((one) => shapeOf(one) ?? {})))];
  if (typeof value !== 'object' || value === null) return value === null ? 'null' : typeof value;
  return sorted(Object.fromEntries(Object.entries(value).map(([name, one]) => [name, shapeOf(one)])));
}

function sorted(object: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(object).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

test('says the same words for help, wrong arguments and missing logins', {
  timeout: TIMEOUT_MS,
}, async () => {
  const told = await session(await freshHome(), WITHOUT_LOGIN);
  await expect(told).toMatchFileSnapshot('transcripts.txt');
});

test('says the same words from login to logout', { timeout: TIMEOUT_MS }, async () => {
  const { resource } = servers;
  const at = await freshHome();
  const told = await session(at, [
    ['token', resource],
    ['login', resource],
    ['list'],
    ['list', '--json'],
    ['token', resource, '--json'],
    ['token', resource, '--account', 'work'],
    ['export', resource],
    ['rekey'],
    ['logout', resource],
    ['logout', resource],
  ]);
  await expect(told).toMatchFileSnapshot('transcripts-session.txt');
});

test('reports the same fields with doctor --json', async () => {
  const { out } = await (await freshHome()).run(['doctor', '--json']);
  const shape = JSON.stringify(shapeOf(JSON.parse(out)), undefined, 2);
  await expect(`${shape}\n`).toMatchFileSnapshot('transcripts-doctor.txt');
});
