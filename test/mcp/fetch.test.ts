import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  InsufficientScopeError,
  InvalidArgumentError,
  LoginDeniedError,
  LoginRequiredError,
} from '../../src/errors.ts';
import { authorizedFetch } from '../../src/mcp/index.ts';
import { browse } from '../support/browser/scripted-browser.mjs';
import { temporaryHome } from '../support/homes/home.ts';
import { seededHome } from '../support/homes/seeded-home.ts';
import { expire, loggedIn, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { countedSince } from '../support/servers/counted-since.ts';
import { answer, hostileServer, stream } from '../support/servers/hostile-server.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { call, countingBrowser, loseTokens, spoilAccessToken, whoami } from './calls.ts';
import { steppingServer } from './stepping-server.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());
afterEach(() => servers.behave({ accessTokenTtlSeconds: 3600 }));

const ONE_REFRESH = { tokenRequests: 1, refreshGrants: 1 };

describe('a request with a login', () => {
  test('sends the access token in place of the caller’s Authorization header', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    const send = authorizedFetch(vault, servers.resource);
    const response = await send(servers.resource, {
      ...whoami(),
      headers: { ...whoami().headers, Authorization: 'Bearer else' },
    });
    expect(response.status).toBe(200);
    expect(await response.text()).toContain('You are alice.');
  });

  test('accepts a Request object with its body', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await spoilAccessToken(home, servers.resource);
    const response = await authorizedFetch(vault, servers.resource)(new Request(servers.resource, whoami()));
    expect(await response.text()).toContain('You are alice.');
  });

  test('sends the method in capitals', async () => {
    const server = await hostileServer({ '/mcp': {} });
    const home = await seededHome(`${server.origin}/mcp`);
    await authorizedFetch(vaultAt(home).vault, home.resource)(home.resource, { method: 'patch' });
    expect(server.requests).toEqual(['PATCH /mcp']);
  });

  test('sends with the caller’s own fetch', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    const sent: string[] = [];
    const own: typeof fetch = (input, init) => {
      sent.push(input instanceof Request ? input.url : input.toString());
      return fetch(input, init);
    };
    expect(
      (await authorizedFetch(vault, servers.resource, { fetch: own })(servers.resource, whoami())).ok,
    ).toBe(true);
    expect(sent).toEqual([servers.resource]);
  });
});

describe('an expired token', () => {
  test('refreshes an expired token once for twenty requests at a time', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const before = await servers.counters();
    const send = authorizedFetch(vault, servers.resource);
    const all = await Promise.all(Array.from({ length: 20 }, () => send(servers.resource, whoami())));
    expect(all.map((response) => response.status)).toEqual(Array(20).fill(200));
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
  });
});

describe('a token that the server rejects', () => {
  test('refreshes a rejected token once for twenty requests at a time, and loses no request', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await spoilAccessToken(home, servers.resource);
    const before = await servers.counters();
    const send = authorizedFetch(vault, servers.resource);
    const all = await Promise.all(Array.from({ length: 20 }, () => send(servers.resource, whoami())));
    for (const response of all) expect(await response.text()).toContain('You are alice.');
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
    expect((await stored(home, servers.resource)).credential.generation).toBe(2);
  });

  test('refreshes for the next request when the body can be read only once', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await spoilAccessToken(home, servers.resource);
    const send = authorizedFetch(vault, servers.resource);
    const body = new Blob([whoami().body]).stream();
    const first = await send(servers.resource, { ...whoami(), body, duplex: 'half' });
    expect(first.status).toBe(401);
    const before = await servers.counters();
    expect((await send(servers.resource, whoami())).status).toBe(200);
    expect(await countedSince(servers, before)).toEqual({});
  });

  test('requires a login, with the command, when the refresh token is rejected too', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    await servers.revokeGrants();
    const send = authorizedFetch(vault, servers.resource);
    const error = await send(servers.resource, whoami()).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(LoginRequiredError);
    expect((error as LoginRequiredError).hint).toBe(`Log in again: holdfast login ${servers.resource}`);
  });

  test('requires a login when the refreshed token is rejected as well', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const before = await servers.counters();
    const always: typeof fetch = async () => new Response(null, { status: 401 });
    const error = await authorizedFetch(vault, servers.resource, { fetch: always })(
      servers.resource,
      whoami(),
    ).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(LoginRequiredError);
    expect((error as LoginRequiredError).message).toContain('just renewed');
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
    expect((await stored(home, servers.resource)).credential.loginRequired).toBeUndefined();
  });
});

describe('requests without a login', () => {
  test('fails with a typed error and the command when it cannot ask, and sends nothing', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const sent: string[] = [];
    const own: typeof fetch = (input, init) => {
      sent.push(input instanceof Request ? input.url : input.toString());
      return fetch(input, init);
    };
    const send = authorizedFetch(vault, servers.resource, { account: 'work', fetch: own });
    const error = await send(servers.resource, whoami()).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(LoginRequiredError);
    expect((error as LoginRequiredError).hint).toBe(
      `Log in: holdfast login ${servers.resource} --account work`,
    );
    expect(sent).toEqual([]);
  });

  test('logs in once for twenty requests at a time, and each is answered', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const interaction = countingBrowser();
    const before = await servers.counters();
    const send = authorizedFetch(vault, servers.resource, { interaction });
    const all = await Promise.all(Array.from({ length: 20 }, () => send(servers.resource, whoami())));
    for (const response of all) expect(await response.text()).toContain('You are alice.');
    expect(interaction.opened).toBe(1);
    expect(await countedSince(servers, before)).toEqual({
      registrations: 1,
      tokenRequests: 1,
      codeGrants: 1,
    });
  });

  test('logs in again after a login has ended', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await loseTokens(home, servers.resource);
    const interaction = countingBrowser();
    const response = await authorizedFetch(vault, servers.resource, { interaction })(
      servers.resource,
      whoami(),
    );
    expect(await response.text()).toContain('You are alice.');
    expect(interaction.opened).toBe(1);
  });

  test('sends no token to a server that needs none', async () => {
    const open = await hostileServer({ '/mcp': { open: true } });
    const { vault } = vaultAt(await temporaryHome());
    const interaction = countingBrowser();
    const response = await authorizedFetch(vault, `${open.origin}/mcp`, { interaction })(
      `${open.origin}/mcp`,
    );
    expect(await response.json()).toEqual({ open: true });
    expect(open.log.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    expect(interaction.opened).toBe(0);
  });

  test('tells all waiting requests that the user refused', async () => {
    const { vault } = vaultAt(await temporaryHome());
    let opened = 0;
    const interaction = {
      authorize: async (url: string) => {
        opened += 1;
        await browse(url, { deny: true });
      },
    };
    const send = authorizedFetch(vault, servers.resource, { interaction });
    const all = await Promise.allSettled(Array.from({ length: 5 }, () => send(servers.resource, whoami())));
    for (const one of all) {
      expect(one.status).toBe('rejected');
      expect((one as PromiseRejectedResult).reason).toBeInstanceOf(LoginDeniedError);
    }
    expect(opened).toBe(1);
  });

  test('does not log in forever to a server that rejects every token', async () => {
    const server = await steppingServer(() => 'refused');
    const { vault } = vaultAt(await temporaryHome());
    const interaction = countingBrowser();
    const send = authorizedFetch(vault, server.resource, { interaction });
    const statuses: number[] = [];
    for (let times = 0; times < 5; times += 1) statuses.push((await send(server.resource, whoami())).status);
    expect(statuses).toEqual([401, 401, 401, 401, 401]);
    expect(interaction.opened).toBe(2);
  });
});

describe('step-up to more scopes', () => {
  const needsWrite = (scopes: readonly string[]) => (scopes.includes('write') ? undefined : 'write');

  test('logs in for the demanded scopes together with those of the current login', async () => {
    const server = await steppingServer(needsWrite);
    const { vault } = vaultAt(await temporaryHome());
    const send = authorizedFetch(vault, server.resource, { interaction: scripted });
    const response = await send(server.resource, call('tools/call', { name: 'save' }));
    expect(await response.json()).toEqual({ served: true });
    expect(server.asked).toEqual(['read', 'read write']);
  });

  test('logs in once for requests that need the same scopes', async () => {
    const server = await steppingServer(needsWrite);
    const { vault } = await loggedIn(await temporaryHome(), server.resource);
    const send = authorizedFetch(vault, server.resource, { interaction: scripted });
    const all = await Promise.all(
      Array.from({ length: 5 }, () => send(server.resource, call('tools/call', { name: 'save' }))),
    );
    expect(all.map((response) => response.status)).toEqual([200, 200, 200, 200, 200]);
    expect(server.asked).toHaveLength(2);
  });

  test('asks for the scopes of one operation twice at most while the vault is open', async () => {
    const server = await steppingServer(() => 'admin');
    const { vault } = await loggedIn(await temporaryHome(), server.resource);
    const interaction = countingBrowser();
    const save = call('tools/call', { name: 'save' });
    for (let times = 0; times < 3; times += 1) {
      const send = authorizedFetch(vault, server.resource, { interaction });
      const response = await send(server.resource, save);
      expect(response.status).toBe(403);
      expect(response.headers.get('www-authenticate')).toContain('insufficient_scope');
      expect(await response.text()).toBe('more');
    }
    expect(interaction.opened).toBe(2);
    await authorizedFetch(vault, server.resource, { interaction })(
      server.resource,
      call('tools/call', { name: 'read' }),
    );
    expect(interaction.opened).toBe(4);
    const throwing = authorizedFetch(vault, server.resource, { interaction, onInsufficientScope: 'throw' });
    await expect(throwing(server.resource, save)).rejects.toBeInstanceOf(InsufficientScopeError);
  });

  test('returns the 403 unchanged when it cannot ask', async () => {
    const server = await steppingServer(() => 'admin');
    const { vault } = await loggedIn(await temporaryHome(), server.resource);
    const response = await authorizedFetch(vault, server.resource)(server.resource, whoami());
    expect(response.status).toBe(403);
    expect(await response.text()).toBe('more');
  });

  test('throws, if told to, with the command that asks for all scopes', async () => {
    const server = await steppingServer(() => 'admin');
    const { vault } = await loggedIn(await temporaryHome(), server.resource);
    const send = authorizedFetch(vault, server.resource, { onInsufficientScope: 'throw' });
    const error = await send(server.resource, whoami()).catch((thrown: unknown) => thrown);
    expect((error as InsufficientScopeError).message).toContain('"admin"');
    expect((error as InsufficientScopeError).hint).toContain(
      `holdfast login ${server.resource} --scope 'read admin'`,
    );
  });

  test('returns a 403 that demands no scopes unchanged', async () => {
    const home = await seededHome(`${(await hostileServer({})).origin}/mcp`);
    const { vault } = vaultAt(home);
    const own: typeof fetch = async () => new Response('no', { status: 403 });
    const interaction = countingBrowser();
    const response = await authorizedFetch(vault, home.resource, { interaction, fetch: own })(home.resource);
    expect(await response.text()).toBe('no');
    expect(interaction.opened).toBe(0);
  });
});

describe('the token stays at its origin', () => {
  test('refuses to send the token to another origin', async () => {
    const other = await hostileServer({ '*': answer(200) });
    const home = await seededHome();
    const send = authorizedFetch(vaultAt(home).vault, home.resource);
    for (const url of [
      `${other.origin}/mcp`,
      'http://mcp.example.com/mcp',
      'https://mcp.example.com:8443/mcp',
      '/mcp',
    ]) {
      await expect(send(url)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    await expect(send(new Request(other.origin))).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(other.requests).toEqual([]);
  });

  test('returns a redirect to another origin instead of following it', async () => {
    const other = await hostileServer({ '*': answer(200) });
    const server = await hostileServer({
      '/mcp': answer(307, '', { location: `${other.origin}/mcp` }),
    });
    const home = await seededHome(`${server.origin}/mcp`);
    const response = await authorizedFetch(vaultAt(home).vault, home.resource)(home.resource, whoami());
    expect(response.status).toBe(307);
    expect(other.requests).toEqual([]);
  });

  test('follows redirects within the origin as the Fetch standard does', async () => {
    const server = await hostileServer({
      '/307': answer(307, '', { location: '/end' }),
      '/303': answer(303, '', { location: '/end' }),
      '/302': answer(302, '', { location: '/end' }),
      '/circle': answer(307, '', { location: '/circle' }),
      '/end': { end: true },
    });
    const home = await seededHome(`${server.origin}/mcp`);
    const send = authorizedFetch(vaultAt(home).vault, home.resource);
    const { body } = whoami();
    for (const path of ['/307', '/303', '/302']) {
      expect(await (await send(`${server.origin}${path}`, whoami())).json()).toEqual({ end: true });
      const last = server.log.at(-1);
      expect([last?.method, last?.body]).toEqual(path === '/307' ? ['POST', body] : ['GET', '']);
      expect(last?.headers.authorization).toBe(`Bearer ${home.token}`);
    }
    expect((await send(`${server.origin}/circle`)).status).toBe(307);
    expect((await send(`${server.origin}/307`, { redirect: 'manual' })).status).toBe(307);
  });
});

describe('the caller’s signal', () => {
  test('ends the request with the reason of the signal', async () => {
    const server = await hostileServer({ '/mcp': () => {} });
    const home = await seededHome(`${server.origin}/mcp`);
    const send = authorizedFetch(vaultAt(home).vault, home.resource);
    const stop = new AbortController();
    const pending = send(home.resource, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(pending).rejects.toThrow('enough');
    await expect(send(home.resource, { signal: stop.signal })).rejects.toThrow('enough');
  });

  test('ends the wait for a login of one caller, while the others keep waiting', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const stop = new AbortController();
    let opened: (url: string) => void = () => {};
    const url = new Promise<string>((resolve) => {
      opened = resolve;
    });
    const interaction = { authorize: async (shown: string) => opened(shown) };
    const send = authorizedFetch(vault, servers.resource, { interaction });
    const impatient = send(servers.resource, whoami(stop.signal));
    const patient = send(servers.resource, whoami());
    const shown = await url;
    stop.abort(new Error('enough'));
    await expect(impatient).rejects.toThrow('enough');
    await browse(shown);
    expect(await (await patient).text()).toContain('You are alice.');
  });
});

test('passes a stream on as it arrives', async () => {
  const endless = stream('data: {}\n\n', { everyMs: 5, headers: { 'content-type': 'text/event-stream' } });
  const server = await hostileServer({ '/mcp': endless.handler });
  const home = await seededHome(`${server.origin}/mcp`);
  const response = await authorizedFetch(vaultAt(home).vault, home.resource)(home.resource);
  const reader = response.body?.getReader();
  expect(new TextDecoder().decode((await reader?.read())?.value)).toContain('data: {}');
  await reader?.cancel();
  expect(await endless.closed).toBeGreaterThan(0);
});
