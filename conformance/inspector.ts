/**
 * `node conformance/run.mjs --inspector`: the command line of the official MCP Inspector, with `holdfast proxy` as the
 * server that it starts. The proxy connects to the SDKs' own servers: with and without a login, stateless, stateful,
 * HTTP+SSE. The protocol has `initialize` (the Inspector's era `legacy`), or not (`modern`), or the Inspector finds out
 * (`auto`). If a server needs no login, the Inspector also runs without the proxy: output and exit code must be equal.
 *
 *     inspector.ts --holdfast <command, as one file> --servers <sdk-servers.ts, as one file> --node <Node 22> --place <directory>
 *
 * Prints a line for each server. Exits with 1 if a server failed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { startServers } from '../test/support/servers/servers.ts';

const INSPECTOR = fileURLToPath(
  new URL(
    'inspector/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js',
    import.meta.url,
  ),
);
const BROWSER = fileURLToPath(new URL('../test/support/browser/scripted-browser.mjs', import.meta.url));

/** Time limit for one command, in milliseconds. */
const LIMIT_MS = 30_000;

type Era = 'legacy' | 'modern' | 'auto';

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

const { values } = parseArgs({
  options: {
    holdfast: { type: 'string', default: '' },
    servers: { type: 'string', default: '' },
    node: { type: 'string', default: '' },
    place: { type: 'string', default: '' },
  },
});
const { holdfast, servers, node, place } = values;

const ECHO = [
  '--method',
  'tools/call',
  '--tool-name',
  'echo',
  '--tool-args-json',
  '{"text":"„Grüße“, 1 < 2"}',
];
const FAIL = ['--method', 'tools/call', '--tool-name', 'fail'];
const NONE = ['--method', 'tools/call', '--tool-name', 'no such tool'];
const LIST = ['--method', 'tools/list'];
const WHOAMI = ['--method', 'tools/call', '--tool-name', 'whoami'];

const protectedServers = await startServers();
const open = spawn(process.execPath, [servers], { stdio: ['pipe', 'pipe', 'inherit'] });
try {
  const {
    stateless = '',
    stateful = '',
    sse = '',
  } = JSON.parse(await firstLine(open)) as Record<string, string>;
  await line('stateless, SDK v2, logged in beforehand', () => withLogin(protectedServers.resource, 'before'));
  await line('stateless, SDK v2, the proxy logs in', () => withLogin(protectedServers.resource, 'within'));
  await line('stateless, SDK v2', () => asWithout(stateless, 'http', ['legacy', 'modern', 'auto'], [NONE]));
  await line('stateful, SDK v1', () => asWithout(stateful, 'http', ['legacy', 'auto'], [FAIL]));
  await line('HTTP+SSE, SDK v1', () => asWithout(sse, 'sse', ['legacy', 'auto'], [FAIL]));
} finally {
  open.stdin?.end();
  await protectedServers.stop();
}

/** Runs one server's commands, and prints a line with the result. */
async function line(name: string, ask: () => Promise<number>): Promise<void> {
  try {
    process.stdout.write(`ok   ${name}: ${await ask()} commands\n`);
  } catch (error) {
    process.exitCode = 1;
    process.stdout.write(`FAIL ${name}: ${error instanceof Error ? error.message : String(error)}\n`);
  }
}

/**
 * Tests a server that wants a login, which the Inspector does not support.
 *
 * @returns the number of commands
 */
async function withLogin(server: string, login: 'before' | 'within'): Promise<number> {
  let commands = 0;
  for (const era of ['legacy', 'modern', 'auto'] as const) {
    const home = await mkdtemp(join(place, 'home-'));
    if (login === 'before') {
      const { code, err } = await ended([process.execPath, holdfast, 'login', server], variables(home));
      if (code !== 0) throw new Error(`holdfast login ended with ${code}: ${err}`);
    }
    const browser = login === 'within' ? BROWSER : '/nonexistent/browser';
    const list = await inspected(through(server, home, browser), era, LIST);
    const tools = (resultOf(list) as { tools?: { name?: string }[] }).tools?.map(({ name }) => name);
    expectSame(era, LIST, tools, ['whoami']);
    const call = await inspected(through(server, home, browser), era, WHOAMI);
    const { content } = resultOf(call) as { content?: unknown };
    expectSame(era, WHOAMI, content, [{ type: 'text', text: 'You are alice.' }]);
    commands += 2;
  }
  return commands;
}

/** Tests a server without a login: the Inspector prints the same with and without the proxy. */
async function asWithout(
  server: string,
  transport: 'http' | 'sse',
  eras: readonly Era[],
  errors: readonly (readonly string[])[],
): Promise<number> {
  const home = await mkdtemp(join(place, 'home-'));
  let commands = 0;
  for (const era of eras) {
    for (const what of [LIST, ECHO, ...errors]) {
      const proxied = await inspected(through(server, home), era, what);
      const direct = await inspected(['--server-url', server, '--transport', transport], era, what);
      const { code, out, err } = proxied;
      expectSame(era, what, { code, out, err }, direct);
      if (!errors.includes(what)) resultOf(proxied);
      else if (!`${out}${err}`.includes('"error"') && !out.includes('"isError":true')) {
        throw new Error(`${said(era, what)} came to no error: ${out}`);
      }
      commands += 1;
    }
  }
  return commands;
}

/** The Inspector's arguments for `holdfast proxy` as its server. */
function through(server: string, home: string, browser?: string): string[] {
  const given = Object.entries(variables(home, browser)).flatMap(([name, value]) => [
    '-e',
    `${name}=${value}`,
  ]);
  return [process.execPath, holdfast, 'proxy', server, ...given];
}

function variables(home: string, browser = BROWSER): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: home,
    HOLDFAST_HOME: home,
    HOLDFAST_KEYRING: 'file',
    BROWSER: browser,
  };
}

async function inspected(target: readonly string[], era: Era, what: readonly string[]): Promise<Ended> {
  const home = await mkdtemp(join(place, 'inspector-'));
  const options = ['--format', 'json', '--quiet', '--protocol-era', era];
  const asked = await ended([node, INSPECTOR, '--cli', ...target, ...what, ...options], {
    PATH: process.env['PATH'] ?? '',
    HOME: home,
  });
  if (asked.code !== null) return asked;
  throw new Error(`${said(era, what)} was not answered within ${LIMIT_MS} ms: ${asked.out}${asked.err}`);
}

/** The `result` of the one JSON object that the Inspector prints. */
function resultOf({ code, out, err }: Ended): object {
  const { result } = out === '' ? {} : (JSON.parse(out) as { result?: unknown });
  if (code === 0 && typeof result === 'object' && result !== null) return result;
  throw new Error(`the Inspector ended with ${code}: ${out}${err}`);
}

function expectSame(era: Era, what: readonly string[], got: unknown, expected: unknown): void {
  if (isDeepStrictEqual(got, expected)) return;
  throw new Error(
    `${said(era, what)} came to ${JSON.stringify(got)}, and should have to ${JSON.stringify(expected)}`,
  );
}

function said(era: Era, what: readonly string[]): string {
  return `${what.filter((part) => !part.startsWith('--')).join(' ')} (${era})`;
}

async function ended(command: readonly string[], env: Record<string, string>): Promise<Ended> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    cwd: place,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
  });
  const [out, err, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  return { code, out, err };
}

async function firstLine({ stdout }: ChildProcess): Promise<string> {
  if (stdout !== null) for await (const one of createInterface({ input: stdout })) return one;
  throw new Error('The servers ended before they listened.');
}
