import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loseTokens, spoilAccessToken } from '../mcp/calls.ts';
import { browse } from '../support/browser/scripted-browser.mjs';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { expire, loggedIn } from '../support/homes/vault.ts';
import { countedSince } from '../support/servers/counted-since.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { SCRIPTED_BROWSER } from '../support/transcript.ts';
import { client1, client2, eventually, program, type Received, raw } from './through.ts';

const holdfast = program();

let servers: Servers;
beforeAll(async () => {
  servers = await startServers({ toolScopes: { write: 'tools:write' } });
});
afterAll(() => servers.stop());

const at = (home: Home, more: Record<string, string> = {}) => ({
  HOLDFAST_HOME: home.path,
  HOLDFAST_KEYRING: 'file',
  ...more,
});
const BROWSER = { BROWSER: SCRIPTED_BROWSER };
const YOU = [{ type: 'text', text: 'You are alice.' }];
const whoami = { name: 'whoami', arguments: {} };
const textOf = ({ result }: Received) => (result?.['content'] as { text: string }[] | undefined)?.[0]?.text;

describe('with a login', () => {
  test('sends the token of the login for clients of both SDKs', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const [one, two] = [
      await client1(holdfast, [servers.resource], at(home)),
      await client2(holdfast, [servers.resource], {}, at(home)),
    ];
    expect((await one.callTool(whoami)).content).toEqual(YOU);
    expect((await two.callTool(whoami)).content).toEqual(YOU);
    expect(one.getServerVersion()?.name).toBe('test-server');
  });

  test('refreshes a rejected token once for fifty calls, and answers each call', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const client = await client1(holdfast, [servers.resource], at(home));
    const before = await servers.counters();
    await spoilAccessToken(home, servers.resource);
    const calls = Array.from({ length: 50 }, () => client.callTool(whoami));
    expect((await Promise.all(calls)).map(({ content }) => content)).toEqual(calls.map(() => YOU));
    // The proxy sees it by a look at the store, within half a second, or by the server's refusal.
    await eventually(async () => {
      await client.callTool(whoami);
      return (await countedSince(servers, before)).refreshGrants === 1;
    });
  });

  test('sends a bound token with its proof', async () => {
    const bound = await startServers({ dpop: true, dpopNonce: true });
    try {
      const home = await temporaryHome();
      await loggedIn(home, bound.resource);
      const client = await client1(holdfast, [bound.resource], at(home));
      const results = await Promise.all([1, 2, 3].map(() => client.callTool(whoami)));
      expect(results.map(({ content }) => content)).toEqual([YOU, YOU, YOU]);
      expect((await bound.resourceCounters()).calls).toBe(3);
    } finally {
      await bound.stop();
    }
  });

  test('refreshes an expired token once for two proxies that share a login', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    await expire(home, servers.resource);
    const before = await servers.counters();
    const clients = await Promise.all([1, 2].map(() => client1(holdfast, [servers.resource], at(home))));
    const results = await Promise.all(clients.map((client) => client.callTool(whoami)));
    expect(results.map(({ content }) => content)).toEqual([YOU, YOU]);
    expect(await countedSince(servers, before)).toEqual({ tokenRequests: 1, refreshGrants: 1 });
  });

  test('keeps ten seconds of calls running on tokens of two seconds', async () => {
    const short = await startServers({ accessTokenTtlSeconds: 2 });
    try {
      const home = await temporaryHome();
      await loggedIn(home, short.resource);
      const client = await client1(holdfast, [short.resource], at(home));
      const end = performance.now() + 10_000;
      let calls = 0;
      while (performance.now() < end) {
        const results = await Promise.all([1, 2, 3].map(() => client.callTool(whoami)));
        expect(results.map(({ content }) => content)).toEqual([YOU, YOU, YOU]);
        calls += 3;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      expect((await short.resourceCounters()).calls).toBe(calls);
      expect((await short.counters()).refreshGrants).toBeGreaterThan(2);
    } finally {
      await short.stop();
    }
  });
});

describe('without a login or a user to ask', () => {
  test('stays up without a login, says how to log in, and goes on after a login', async () => {
    const home = await temporaryHome();
    const proxy = raw(holdfast, [servers.resource], at(home));
    const { result } = await proxy.begin();
    expect(result).toMatchObject({
      protocolVersion: '2025-11-25',
      serverInfo: { name: 'holdfast' },
      instructions: expect.stringContaining(`holdfast login ${servers.resource}`),
    });
    const tools = await proxy.ask('tools/list');
    expect(tools.result?.['tools']).toMatchObject([
      { name: 'holdfast_login', description: expect.stringContaining(`holdfast login ${servers.resource}`) },
    ]);
    for (const name of ['whoami', 'holdfast_login']) {
      const answer = await proxy.ask('tools/call', { name, arguments: {} });
      expect(answer.result?.['isError']).toBe(true);
      expect(textOf(answer)).toBe(
        `There is no login to ${servers.resource}.\nLog in with: holdfast login ${servers.resource}`,
      );
    }
    expect((await proxy.ask('prompts/list')).result).toEqual({ prompts: [] });
    expect((await proxy.ask('ping')).result).toEqual({});

    await loggedIn(home, servers.resource);
    await proxy.next(({ method }) => method === 'notifications/tools/list_changed');
    const after = await proxy.ask('tools/list');
    expect(after.result?.['tools']).toMatchObject([{ name: 'whoami' }, { name: 'write' }]);
    expect(textOf(await proxy.ask('tools/call', whoami))).toBe('You are alice.');
    // The server has no prompts, and the client was told that prompts may exist.
    expect((await proxy.ask('prompts/list')).result).toEqual({ prompts: [] });
    expect(await proxy.end()).toBe(0);
    expect(proxy.errors()).toBe('');
  });

  test('answers a call right after the login without any notification', async () => {
    const home = await temporaryHome();
    const proxy = raw(holdfast, [servers.resource], at(home));
    await proxy.begin();
    await loggedIn(home, servers.resource);
    expect(textOf(await proxy.ask('tools/call', whoami))).toBe('You are alice.');
  });

  test('says with the next call that the login has ended', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const proxy = raw(holdfast, [servers.resource], at(home));
    await proxy.begin();
    await loseTokens(home, servers.resource);
    await eventually(async () => (await proxy.ask('tools/call', whoami)).result?.['isError'] === true);
    const answer = await proxy.ask('tools/call', whoami);
    expect(textOf(answer)).toContain(`holdfast login ${servers.resource}`);
    await loggedIn(home, servers.resource);
    await proxy.next(({ method }) => method === 'notifications/tools/list_changed');
    expect(textOf(await proxy.ask('tools/call', whoami))).toBe('You are alice.');
  });

  test('names the command that adds a missing scope', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const proxy = raw(holdfast, [servers.resource], at(home));
    await proxy.begin();
    const answer = await proxy.ask('tools/call', { name: 'write', arguments: {} });
    expect(answer.result?.['isError']).toBe(true);
    expect(textOf(answer)).toContain('--scope');
    expect(textOf(answer)).toContain('tools:write');
  });
});

test('starts a 2026-07-28 client of SDK v2 without a login', async () => {
  const home = await temporaryHome();
  const options = { versionNegotiation: { mode: 'auto' } } as const;
  const client = await client2(holdfast, [servers.resource], options, at(home));
  expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['holdfast_login']);
  expect((await client.callTool(whoami)).isError).toBe(true);
});

describe('without a login but with a browser', () => {
  test('accepts the client while the browser is open, and the call waits for the login', async () => {
    const home = await temporaryHome();
    const [script, opened] = [join(home.path, '..', 'browser'), join(home.path, '..', 'opened')];
    await writeFile(script, `#!/bin/sh\nprintf '%s\\n' "$1" >> '${opened}'\n`, { mode: 0o755 });
    const proxy = raw(holdfast, [servers.resource], at(home, { BROWSER: script }));
    expect((await proxy.begin()).result?.['serverInfo']).toMatchObject({ name: 'holdfast' });
    const call = proxy.ask('tools/call', whoami);
    expect((await proxy.ask('tools/list')).result?.['tools']).toMatchObject([{ name: 'holdfast_login' }]);
    const urls = (await readFile(opened, 'utf8')).trim().split('\n');
    expect(urls).toHaveLength(1);
    await browse(urls[0] ?? '');
    expect(textOf(await call)).toBe('You are alice.');
    expect((await proxy.ask('tools/list')).result?.['tools']).toMatchObject([
      { name: 'whoami' },
      { name: 'write' },
    ]);
  });

  test('exits when the client goes while the browser is still open', async () => {
    const home = await temporaryHome();
    const script = join(home.path, '..', 'browser');
    await writeFile(script, '#!/bin/sh\nexit 0\n', { mode: 0o755 });
    const proxy = raw(holdfast, [servers.resource], at(home, { BROWSER: script }));
    void proxy
      .ask('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: {} })
      .catch(() => {});
    await eventually(() => proxy.errors().includes('Opening a browser'));
    expect(await proxy.end()).toBe(0);
  });

  test('opens a browser, then connects the client to the real server', async () => {
    const home = await temporaryHome();
    const client = await client1(holdfast, [servers.resource], at(home, BROWSER));
    expect(client.getServerVersion()?.name).toBe('test-server');
    expect((await client.callTool(whoami)).content).toEqual(YOU);
  });

  test('opens one browser for three proxies that start at once', async () => {
    const home = await temporaryHome();
    const before = await servers.counters();
    const clients = await Promise.all(
      [1, 2, 3].map(() => client1(holdfast, [servers.resource], at(home, BROWSER))),
    );
    const results = await Promise.all(clients.map((client) => client.callTool(whoami)));
    expect(results.map(({ content }) => content)).toEqual([YOU, YOU, YOU]);
    expect(await countedSince(servers, before)).toMatchObject({ codeGrants: 1 });
  });

  test('logs in for a scope that a tool needs, and completes the call', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const client = await client1(holdfast, [servers.resource], at(home, BROWSER));
    const result = await client.callTool({ name: 'write', arguments: {} });
    expect(result.content).toEqual([{ type: 'text', text: 'Done: write.' }]);
  });

  test('does not reopen a browser at once that the user closed, and the call says why', async () => {
    const home = await temporaryHome();
    const before = await servers.counters();
    const proxy = raw(holdfast, [servers.resource], at(home, { ...BROWSER, HOLDFAST_TEST_BROWSER: 'deny' }));
    await proxy.begin();
    const answer = await proxy.ask('tools/call', whoami);
    expect(answer.result?.['isError']).toBe(true);
    expect(textOf(answer)).toMatch(/denied|refused|not granted/);
    expect(proxy.errors().match(/Opening a browser/g)).toHaveLength(1);
    await proxy.ask('tools/call', { name: 'holdfast_login', arguments: {} });
    expect(proxy.errors().match(/Opening a browser/g)).toHaveLength(2);
    expect(await countedSince(servers, before)).not.toHaveProperty('codeGrants');
  });
});

describe('a client that can show a URL', () => {
  const elicitation = { capabilities: { elicitation: { url: {} } } };

  test('asks the client to show the URL when a tool is called, then completes the call', async () => {
    const home = await temporaryHome();
    const asked: string[] = [];
    const client = await client1(holdfast, [servers.resource], at(home, BROWSER), elicitation, (one) =>
      one.setRequestHandler(ElicitRequestSchema, ({ params }) => {
        if (params.mode !== 'url') throw new Error('a form');
        asked.push(params.message);
        void browse(params.url);
        return { action: 'accept' };
      }),
    );
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['holdfast_login']);
    expect((await client.callTool(whoami)).content).toEqual(YOU);
    expect(asked).toEqual([`Log in to ${servers.resource} to go on.`]);
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['whoami', 'write']);
  });

  test('asks a 2026-07-28 client by the answer to its call, which it then repeats', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    let asked = 0;
    const client = await client2(holdfast, [servers.resource], elicitation, at(home), (one) =>
      one.setRequestHandler('elicitation/create', ({ params }) => {
        asked += 1;
        if (params.mode === 'url') void browse(params.url);
        return { action: 'accept' };
      }),
    );
    await loseTokens(home, servers.resource);
    const before = await servers.resourceCounters();
    await eventually(async () => {
      expect((await client.callTool(whoami)).content).toEqual(YOU);
      return asked > 0;
    });
    const { calls } = await servers.resourceCounters();
    expect(asked).toBe(1);
    expect(calls).toBeGreaterThan(before.calls);
  });

  test('tells a 2026-07-28 client that its user declined the login', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const client = await client2(holdfast, [servers.resource], elicitation, at(home), (one) =>
      one.setRequestHandler('elicitation/create', () => ({ action: 'decline' })),
    );
    await loseTokens(home, servers.resource);
    let result = await client.callTool(whoami);
    while (result.isError !== true) result = await client.callTool(whoami);
    expect((result.content as { text: string }[])[0]?.text).toMatch(/^The login was declined\./);
  });

  test('notifies the client when the login is complete', async () => {
    const home = await temporaryHome();
    const proxy = raw(holdfast, [servers.resource], at(home));
    await proxy.begin(elicitation.capabilities);
    const call = proxy.ask('tools/call', { name: 'holdfast_login', arguments: {} });
    const request = await proxy.next(({ method }) => method === 'elicitation/create');
    const { url, elicitationId } = request.params as { url: string; elicitationId: string };
    proxy.write({ jsonrpc: '2.0', id: String(request.id), result: { action: 'accept' } });
    await browse(url);
    const done = await proxy.next(({ method }) => method === 'notifications/elicitation/complete');
    expect(done.params).toEqual({ elicitationId });
    const answer = await call;
    expect(answer.result?.['isError']).toBeUndefined();
    expect(textOf(answer)).toContain('You are logged in');
  });

  test('tells the client that its user declined the login', async () => {
    const home = await temporaryHome();
    const client = await client1(holdfast, [servers.resource], at(home), elicitation, (one) =>
      one.setRequestHandler(ElicitRequestSchema, () => ({ action: 'decline' })),
    );
    const result = await client.callTool(whoami);
    expect(result.isError).toBe(true);
    expect((result.content as { text: string }[])[0]?.text).toMatch(
      /^The login was declined\.\nLog in: holdfast login/,
    );
  });
});
