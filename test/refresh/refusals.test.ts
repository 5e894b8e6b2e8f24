import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { SharedMemory } from '../support/engines/memory-engine.ts';
import {
  authorizationServer,
  ended,
  engineProcess,
  machine,
  putLogin,
  RESOURCE,
  storedAt,
} from '../support/servers/lab.ts';

/* A server that refuses, or gives senseless answers: when that ends a login, and how often the server is asked. */

type Reply = (response: ServerResponse) => void;

const json =
  (status: number, body: unknown): Reply =>
  (response) =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

const page =
  (status: number, headers: Record<string, string> = {}): Reply =>
  (response) =>
    void response.writeHead(status, { 'content-type': 'text/html', ...headers }).end('<h1>Not here</h1>');

/** A fleet of two processes and a login whose access token has expired. */
async function expiredLogin() {
  const as = await authorizationServer('strict');
  const at = await machine();
  const shared = new SharedMemory();
  const { family, refreshToken } = await as.begin();
  const [one, other] = [engineProcess(shared, at), engineProcess(shared, at)];
  await putLogin(one.store, at, { server: as, refreshToken });
  return { as, at, shared, family, one, other };
}

test.each<[string, Reply]>([
  ['a gateway that wants a password', page(401, { 'www-authenticate': 'Basic realm="maintenance"' })],
  ['a 401 that says nothing', (response) => void response.writeHead(401).end()],
  ['a client whose metadata could not be fetched', json(401, { error: 'invalid_client' })],
  ['a replica that has not seen the newest token', json(400, { error: 'invalid_grant' })],
])('one refusal ends no login: %s', async (_what, reply) => {
  const { as, at, family, one, other } = await expiredLogin();
  as.hooks.before = (n, response) => {
    if (n > 1) return false;
    reply(response);
    return true;
  };
  await ended(one.vault.token(RESOURCE));
  expect(await ended(other.vault.token(RESOURCE))).toBe('generation 2');
  expect(await storedAt(one.store, at)).toMatchObject({ refreshToken: as.live(family) });
});

test.each(['invalid_grant', 'invalid_client'])(
  '%s twice, a second apart, ends the login, and nobody asks again',
  async (error) => {
    const { as, at, one, other } = await expiredLogin();
    const asked: number[] = [];
    as.hooks.before = (_n, response) => {
      asked.push(performance.now());
      json(400, { error })(response);
      return true;
    };
    expect(await ended(one.vault.token(RESOURCE))).toBe('LoginRequiredError');
    expect(await ended(other.vault.token(RESOURCE))).toBe('LoginRequiredError');
    expect(asked).toHaveLength(2);
    expect((asked[1] ?? 0) - (asked[0] ?? 0)).toBeGreaterThanOrEqual(990);
    expect(await storedAt(one.store, at)).toMatchObject({ loginRequired: { error } });
  },
);

test('a server that refuses many logins within a minute ends none of them', async () => {
  const as = await authorizationServer('strict');
  const at = await machine();
  const shared = new SharedMemory();
  const { vault, store } = engineProcess(shared, at);
  const resources = Array.from({ length: 6 }, (_, n) => `https://mcp.example.com/${n}`);
  for (const resource of resources) {
    await putLogin(store, at, { server: as, refreshToken: (await as.begin()).refreshToken, resource });
  }
  as.hooks.before = (_n, response) => {
    json(400, { error: 'invalid_grant' })(response);
    return true;
  };
  const outcomes = await Promise.all(
    resources.map((resource) => ended(vault.token(resource, { timeoutMs: 5_000 }))),
  );
  expect(new Set(outcomes)).toEqual(new Set(['NetworkError']));
  const marks = await Promise.all(resources.map((resource) => storedAt(store, at, resource)));
  expect(marks.map((one) => one?.loginRequired)).toEqual(resources.map(() => undefined));
});

test.each<[string, Reply]>([
  ['503', (response) => void response.writeHead(503).end()],
  ['temporarily_unavailable', json(400, { error: 'temporarily_unavailable' })],
  ['server_error', json(400, { error: 'server_error' })],
  ['invalid_request', json(400, { error: 'invalid_request' })],
  ['a page of a firewall', page(403)],
  ['a page of a captive portal', page(200)],
])(
  'asks a server that answers %s once in each interval, however many callers there are',
  async (_what, reply) => {
    const { as, one, other } = await expiredLogin();
    let requests = 0;
    as.hooks.before = (_n, response) => {
      requests += 1;
      reply(response);
      return true;
    };
    // The first interval is at least 750 ms. Each of these 20 callers gives up sooner, and each asks again at once.
    for (const { vault } of [one, other, one, other]) {
      await Promise.all(Array.from({ length: 5 }, () => ended(vault.token(RESOURCE, { timeoutMs: 100 }))));
    }
    expect(requests).toBeLessThan(10);
  },
);

const AN_HOUR_MS = 3_600_000;

function endedAgo(ms: number) {
  return { loginRequired: { reason: 'refused', error: 'invalid_grant', since: Date.now() - ms } };
}

test('the refresher restores a login an hour later if its refusal has passed', async () => {
  const as = await authorizationServer('strict');
  const at = await machine();
  const { vault, store } = engineProcess(new SharedMemory(), at);
  const { refreshToken } = await as.begin();
  await putLogin(store, at, { server: as, refreshToken, more: endedAgo(AN_HOUR_MS + 1000) });
  expect(await ended(vault.token(RESOURCE))).toBe('LoginRequiredError');
  expect(as.presented).toEqual([]);
  await vault.admin.runRefresher({ once: true });
  expect(await ended(vault.token(RESOURCE))).toBe('generation 2');
});

test('the refresher leaves a login alone that was refused a moment ago', async () => {
  const as = await authorizationServer('strict');
  const at = await machine();
  const { vault, store } = engineProcess(new SharedMemory(), at);
  const { refreshToken } = await as.begin();
  await putLogin(store, at, { server: as, refreshToken, more: endedAgo(1000) });
  expect(await vault.admin.runRefresher({ once: true })).toMatchObject({ refreshed: 0, failures: [] });
  expect(as.presented).toEqual([]);
});

test('two refreshers together ask once an hour for a login that stays refused', async () => {
  const as = await authorizationServer('strict');
  const at = await machine();
  const shared = new SharedMemory();
  const [one, other] = [engineProcess(shared, at), engineProcess(shared, at)];
  await as.begin();
  await putLogin(one.store, at, { server: as, refreshToken: 'unknown', more: endedAgo(AN_HOUR_MS + 1000) });
  for (const { vault } of [one, other, one]) {
    expect(await vault.admin.runRefresher({ once: true })).toMatchObject({ refreshed: 0, failures: [] });
  }
  // This refusal is asked about twice, like any other.
  expect(as.presented).toHaveLength(2);
});

test.each<[string, Record<string, unknown>]>([
  ['no access token', { access_token: undefined }],
  ['an access token in a list', { access_token: ['a'] }],
  ['a token type that nobody knows', { token_type: 'JWT' }],
])('takes only the refresh token from an answer with %s, and the login survives', async (_what, odd) => {
  const { as, at, family, one, other } = await expiredLogin();
  as.hooks.shape = (body, n) => (n === 1 ? { ...body, ...odd } : body);
  expect(await ended(one.vault.token(RESOURCE))).toBe('InvalidResponseError');
  expect(await storedAt(one.store, at)).toMatchObject({ generation: 2, refreshToken: as.live(family) });
  expect(await ended(other.vault.token(RESOURCE))).toBe('generation 3');
  expect(as.hasEnded(family)).toBe(false);
});

test('nobody asks again at once when a server reset the connection, as it may still be busy', async () => {
  const { as, one, other } = await expiredLogin();
  let requests = 0;
  as.hooks.before = (_n, response) => {
    requests += 1;
    response.destroy();
    return true;
  };
  expect(await ended(one.vault.token(RESOURCE, { timeoutMs: 2_000 }))).toBe('NetworkError');
  expect(await ended(other.vault.token(RESOURCE, { timeoutMs: 2_000 }))).toBe('TimeoutError');
  expect(requests).toBe(1);
});

test('nobody sends the token again when a gateway gave up, as the server may still be busy', async () => {
  const { as, one, other } = await expiredLogin();
  let requests = 0;
  as.hooks.before = (_n, response) => {
    requests += 1;
    response.writeHead(504).end();
    return true;
  };
  expect(await ended(one.vault.token(RESOURCE, { timeoutMs: 2_000 }))).toBe('NetworkError');
  expect(await ended(other.vault.token(RESOURCE, { timeoutMs: 2_000 }))).toBe('TimeoutError');
  expect(requests).toBe(1);
});
