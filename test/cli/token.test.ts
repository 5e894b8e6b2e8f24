import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contentsOf } from '../support/homes/disk.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { type CommandLine, commandLine } from '../support/transcript.ts';

const BIN = fileURLToPath(new URL('../../src/cli/bin.ts', import.meta.url));

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function loggedIn(accessTokenTtlSeconds = 3600): Promise<CommandLine> {
  const { path } = await temporaryHome();
  const at = commandLine(path, [servers]);
  await servers.behave({ accessTokenTtlSeconds });
  await at.run(['login', servers.resource]);
  await servers.behave({ accessTokenTtlSeconds: 3600 });
  return at;
}

/** Logs in as `loggedIn` does, and expires the access token. */
async function lapsed(): Promise<CommandLine> {
  const at = await loggedIn(1);
  for (;;) {
    const { out } = await at.run(['list', '--json']);
    if (JSON.parse(out).credentials[0].state !== 'fresh') return at;
  }
}

/** Returns the answer of the MCP server to a client that sends these headers. */
async function initialize(headers: Record<string, string>): Promise<number> {
  const response = await fetch(servers.resource, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...headers,
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
    }),
  });
  await response.text();
  return response.status;
}

/** Runs the command with one of its streams into a pipe that is already closed. */
async function intoClosedPipe(at: CommandLine, args: readonly string[], redirections: string) {
  const script = `exec 3>&1; { "$@" ${redirections}; echo "code $?" >&3; } | true`;
  return start('sh', ['-c', script, 'sh', process.execPath, ...TYPESCRIPT, BIN, ...args], {
    HOME: '/nonexistent',
    HOLDFAST_HOME: at.home,
  }).ended;
}

describe('holdfast token', () => {
  test('prints only the token and a newline', async () => {
    const at = await loggedIn();
    const { code, out, err } = await at.run(['token', servers.resource]);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(/^[\x21-\x7e]{20,}\n$/.test(out)).toBe(true);
    expect(await initialize({ authorization: `Bearer ${out.trim()}` })).toBe(200);
  });

  test('prints its type and expiry too with --json', async () => {
    const at = await loggedIn();
    const [plain, json] = await Promise.all([
      at.run(['token', servers.resource]),
      at.run(['token', servers.resource, '--json']),
    ]);
    const { token, tokenType, expiresAt, generation, ...rest } = JSON.parse(json.out);
    expect({ code: json.code, err: json.err, tokenType, rest }).toEqual({
      code: 0,
      err: '',
      tokenType: 'Bearer',
      rest: {},
    });
    expect(token === plain.out.trim()).toBe(true);
    expect(new Date(expiresAt).toISOString()).toBe(expiresAt);
    expect(generation).toBe(1);
  });

  test('refreshes an expired token once for many processes at a time', async () => {
    const at = await lapsed();
    const before = await servers.counters();
    const ended = await Promise.all(Array.from({ length: 5 }, () => at.run(['token', servers.resource])));
    const after = await servers.counters();
    expect(ended.map(({ code, err }) => ({ code, err }))).toEqual(Array(5).fill({ code: 0, err: '' }));
    expect(new Set(ended.map(({ out }) => out)).size).toBe(1);
    expect(after.refreshGrants - before.refreshGrants).toBe(1);
    expect(await initialize({ authorization: `Bearer ${ended[0]?.out.trim()}` })).toBe(200);
  });

  test('exits with 3 without a login, and prints the command to paste', async () => {
    const { path } = await temporaryHome();
    const at = commandLine(path);
    const [plain, account, json] = await Promise.all([
      at.told(['token', 'https://MCP.example.com:443/mcp']),
      at.told(['token', 'https://mcp.example.com/mcp?a=1&b=2', '--account', "Ada's"]),
      at.told(['token', 'https://mcp.example.com/mcp', '--json']),
    ]);
    expect(plain).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      error: There is no login to https://mcp.example.com/mcp.
        Log in: holdfast login https://mcp.example.com/mcp"
    `);
    expect(account).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      error: There is no login to https://mcp.example.com/mcp?a=1&b=2 for the account Ada's.
        Log in: holdfast login 'https://mcp.example.com/mcp?a=1&b=2' --account 'Ada'\\''s'"
    `);
    expect(json).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      {"error":{"code":"login-required","message":"There is no login to https://mcp.example.com/mcp.","hint":"Log in: holdfast login https://mcp.example.com/mcp","retryable":false}}"
    `);
    expect(await contentsOf(path)).toEqual([]);
  });

  test('exits with 5 when the server fails, and works once the server recovers', async () => {
    const at = await lapsed();
    await servers.behave({ token: '500', times: 100 });
    expect(await at.told(['token', servers.resource, '--timeout', '1', '--quiet'])).toMatchInlineSnapshot(`
      "exit 5
      --- stderr
      error: The token endpoint of "http://127.0.0.1:AUTH1" answered HTTP 500.
        The server is in trouble. Try again in a moment."
    `);
    await servers.behave({});
    expect((await at.run(['token', servers.resource])).code).toBe(0);
  });

  test('retries automatically when the server fails for a moment, and says so', async () => {
    const at = await lapsed();
    await servers.behave({ token: '500', times: 1 });
    const { code, err } = await at.run(['token', servers.resource]);
    expect(code).toBe(0);
    expect(err).toContain('answered HTTP 500. Trying again.');
  });

  test('gets a newer token when the server rejected the current one', async () => {
    const at = await loggedIn();
    const before = JSON.parse((await at.run(['token', servers.resource, '--json'])).out);
    const after = JSON.parse(
      (await at.run(['token', servers.resource, '--json', '--refused', String(before.generation)])).out,
    );
    expect(after.generation).toBe(before.generation + 1);
    expect(after.token === before.token).toBe(false);
    expect((await at.run(['token', servers.resource, '--refused', 'this one'])).code).toBe(2);
  });

  test('exits with 3 and the reason when the server has ended the login', async () => {
    const at = await lapsed();
    await servers.revokeGrants();
    const first = await at.told(['token', servers.resource]);
    expect(first).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      error: The login to http://127.0.0.1:MCP-1/mcp has ended (TIME): The token endpoint of "http://127.0.0.1:AUTH1" answered "invalid_grant": "grant request is invalid". It was ended there, or a copy of it was used first: a backup, or another machine.
        Log in again: holdfast login http://127.0.0.1:MCP-1/mcp"
    `);
    const before = await servers.counters();
    expect(await at.told(['token', servers.resource])).toBe(first);
    expect(await servers.counters()).toEqual(before);
  });

  test('exits normally when nobody reads its output', async () => {
    const at = await loggedIn();
    const [token, list, help, notes] = await Promise.all([
      intoClosedPipe(at, ['token', servers.resource], ''),
      intoClosedPipe(at, ['list'], ''),
      intoClosedPipe(at, ['--help'], ''),
      intoClosedPipe(at, ['token', 'nonsense'], '2>&1'),
    ]);
    for (const ended of [token, list, help]) expect(ended).toEqual({ code: 0, out: 'code 0\n', err: '' });
    expect(notes).toEqual({ code: 0, out: 'code 2\n', err: '' });
  });
});

describe('holdfast headers', () => {
  test('prints headers that the MCP server accepts, one a line', async () => {
    const at = await loggedIn();
    const [headers, token] = await Promise.all([
      at.run(['headers', servers.resource]),
      at.run(['token', servers.resource]),
    ]);
    expect({ code: headers.code, err: headers.err }).toEqual({ code: 0, err: '' });
    expect(headers.out === `Authorization: Bearer ${token.out}`).toBe(true);
    const pairs = headers.out
      .trimEnd()
      .split('\n')
      .map((line) => line.split(': ') as [string, string]);
    expect(await initialize(Object.fromEntries(pairs))).toBe(200);
    expect(await initialize({})).toBe(401);
  });

  test('prints an object of strings with --json, as clients with a headers helper expect it', async () => {
    const at = await loggedIn();
    const { code, out, err } = await at.run(['headers', servers.resource, '--json']);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const headers = JSON.parse(out);
    expect(Object.keys(headers)).toEqual(['Authorization']);
    expect(await initialize(headers)).toBe(200);
  });
});
