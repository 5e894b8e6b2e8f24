import { randomBytes } from 'node:crypto';
import { request as sendRequest } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { ClientRegistration } from '../../../src/credential.ts';
import { HoldfastError } from '../../../src/errors.ts';
import {
  belongsTo,
  createAuthorizationRequest,
  readAuthorizationResponse,
} from '../../../src/oauth/authorization/authorization.ts';
import { openCallbackServer } from '../../../src/oauth/authorization/callback-server.ts';
import { requestDeviceCode } from '../../../src/oauth/authorization/device.ts';
import { discover } from '../../../src/oauth/discovery/discovery.ts';
import { registerClient } from '../../../src/oauth/registration/registration.ts';
import { exchangeCode, refreshTokens, type TokenResponse } from '../../../src/oauth/tokens/token.ts';
import { Secret } from '../../../src/secret.ts';
import { secretsSeen } from '../../support/leaks.ts';
import { remoteHost } from '../../support/network/remote-host.ts';
import { type HostileServer, hostileServer, type Routes } from '../../support/servers/hostile-server.ts';
import { challenge, metadata, OAUTH, RESOURCE } from '../../support/servers/mcp-routes.ts';
import { behindProxy } from './proxy.ts';
import { type Case, filled, handler, type Names, table, text } from './table.ts';

/*
 * Each row of the tables sends a hostile answer over a real connection, through the functions that a login uses. No error
 * may show a secret or anything that a terminal acts on.
 */

const random = () => randomBytes(12).toString('base64url');
/** Each secret has characters that a form, a URL and JSON encode in different ways. */
const HIDDEN: Names = {
  code: `code+/=${random()}`,
  refresh: `refresh+/=${random()}`,
  verifier: `verifier~${random()}${random()}${random()}`,
  secret: `secret "+/:%${random()}`,
  password: `hunter2-${random()}`,
  access: `access.${random()}~+/=`,
  state: `state-${random()}`,
};
const hidden = (name: string) => HIDDEN[name] ?? '';

const CLIENT_ID = 'c';
const BASIC = Buffer.from(
  `${CLIENT_ID}:${new URLSearchParams({ '': hidden('secret') }).toString().slice(1)}`,
);
/** The state is not a secret: it identifies the origin of one redirect and gives access to nothing. */
const SECRETS = [
  ...Object.keys(HIDDEN)
    .filter((name) => name !== 'state')
    .map(hidden),
  BASIC.toString('base64'),
];
const REDIRECT = 'http://127.0.0.1:43210/callback';
const ISSUER = 'https://as.example/tenant';
const PUBLIC_CLIENT: ClientRegistration = {
  clientId: CLIENT_ID,
  authMethod: 'none',
  redirectUris: [REDIRECT],
  source: 'dynamic',
};

type Outcome = Readonly<Record<string, unknown>>;

interface World {
  readonly server: HostileServer;
  readonly elsewhere: HostileServer;
  readonly names: Names;
}

/** Starts a server that behaves well except at `place`, and a second server that must receive no request. */
async function world(row: Case, place: string, good: (origin: string) => object): Promise<World> {
  const other: Routes = {};
  const elsewhere = await hostileServer(other);
  const tls = row.remote ? remoteHost('mcp.example.com') : undefined;
  if (row.remote) await behindProxy();
  const server = await hostileServer({}, tls);
  const { origin, port } = server;
  const names: Names = {
    ...HIDDEN,
    client: CLIENT_ID,
    origin,
    host: new URL(origin).host,
    port: String(port),
    elsewhere: elsewhere.origin,
    elsewherePort: String(elsewhere.port),
  };
  const issuer = row.issuer === undefined ? origin : String(filled(row.issuer, names));
  const path = URL.canParse(issuer) ? new URL(issuer).pathname.replace(/\/$/, '') : '';
  const own = place === OAUTH ? `${OAUTH}${path}` : place;
  const routes: Routes = {
    '/mcp': challenge(),
    [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: [issuer] },
    [`${OAUTH}${path}`]: metadata(
      issuer,
      row.authMethods && { token_endpoint_auth_methods_supported: row.authMethods },
    ),
  };
  if (row.answer !== undefined) routes[own] = handler(row.answer, names, good(issuer));
  for (const [at, answer] of Object.entries(row.also)) routes[at] = handler(answer, names, {});
  Object.assign(server.routes, routes);
  if (row.elsewhere !== undefined) other['*'] = handler(row.elsewhere, names, {});
  return { server, elsewhere, names };
}

/** Runs discovery from the URL of the MCP server, then the steps that the row names. */
async function discovered(row: Case, { server }: World): Promise<Outcome> {
  const discovery = await discover(`${server.origin}/mcp`, { timeoutMs: row.timeoutMs });
  const { reach, resourceParameter } = discovery;
  const request = createAuthorizationRequest(discovery, PUBLIC_CLIENT, REDIRECT);
  if (row.next === 'register') await registerClient(discovery.server, REDIRECT, { reach });
  if (row.next === 'exchange') {
    const code = { code: hidden('code'), codeVerifier: hidden('verifier'), redirectUri: REDIRECT };
    await exchangeCode({ ...discovery.server, reach }, PUBLIC_CLIENT, { ...code, resourceParameter });
  }
  return { ...discovery.server, resourceParameter, scope: request.requestedScope ?? null };
}

async function registered(row: Case, { server }: World): Promise<Outcome> {
  const discovery = await discover(`${server.origin}/mcp`);
  const client = await registerClient(discovery.server, REDIRECT, { timeoutMs: row.timeoutMs });
  return { ...client, clientSecret: client.clientSecret?.reveal() === hidden('secret') };
}

/** Sends the same answer to a code exchange and to a refresh. A refresh may accept tokens that an exchange refuses. */
async function redeemed(row: Case, { server }: World): Promise<Outcome> {
  const as = { issuer: server.origin, tokenEndpoint: `${server.origin}/token` };
  const client: ClientRegistration = {
    clientId: CLIENT_ID,
    clientSecret: new Secret(hidden('secret')),
    authMethod: row.authMethod === 'client_secret_post' ? row.authMethod : 'client_secret_basic',
    redirectUris: [REDIRECT],
    source: 'dynamic',
  };
  const resourceParameter = `${server.origin}/mcp`;
  const code = { code: hidden('code'), codeVerifier: hidden('verifier'), redirectUri: REDIRECT };
  const refreshToken = new Secret(hidden('refresh'));
  const options = { timeoutMs: row.timeoutMs };
  const [first, second] = await Promise.allSettled([
    exchangeCode(as, client, { ...code, resourceParameter }, options),
    refreshTokens(as, client, { refreshToken, resourceParameter }, options),
  ]);
  if (first.status === 'rejected') {
    if (row.takenAtRefresh === true) expect(second.status).toBe('fulfilled');
    else checkFailure(row, second.status === 'rejected' ? second.reason : undefined);
    throw first.reason;
  }
  expect(second.status).toBe('fulfilled');
  return tokensIn(first.value);
}

async function deviceCode(row: Case, { server }: World): Promise<Outcome> {
  const as = {
    issuer: server.origin,
    tokenEndpoint: `${server.origin}/token`,
    deviceAuthorizationEndpoint: `${server.origin}/device`,
  };
  const grant = { scope: 'a', resourceParameter: `${server.origin}/mcp` };
  return { ...(await requestDeviceCode(as, PUBLIC_CLIENT, grant, { timeoutMs: row.timeoutMs })) };
}

function tokensIn({ tokens, scope }: TokenResponse): Outcome {
  const { expiresAt, obtainedAt } = tokens;
  return {
    asGiven: tokens.accessToken.reveal() === hidden('access'),
    length: tokens.accessToken.reveal().length,
    hasRefreshToken: tokens.refreshToken !== undefined,
    livesS: expiresAt === undefined ? undefined : (expiresAt - obtainedAt) / 1000,
    scope,
  };
}

/** Sends the redirect to a real callback server, and checks that the browser sees no secret. */
async function calledBack(row: Case): Promise<Outcome> {
  const request = {
    url: '',
    state: hidden('state'),
    codeVerifier: hidden('verifier'),
    issuer: ISSUER,
    issParameterSupported: row.issPromised,
    requestedScope: undefined,
  };
  const server = await openCallbackServer({ belongs: (parameters) => belongsTo(request, parameters) });
  onTestFinished(() => server.close());
  const inUrl = Object.entries(HIDDEN).map(([name, value]) => [name, encodeURIComponent(String(value))]);
  const query = text(row.query ?? '', Object.fromEntries(inUrl) as Names);
  const arrival = server.next({ timeoutMs: 30_000 });
  const page = get(`${server.redirectUri}?${query}`);
  const callback = await Promise.race([arrival, page.then(() => undefined)]);
  if (callback === undefined) {
    const { status, body } = await page;
    expect(status).toBeGreaterThanOrEqual(400);
    expect(secretsSeen(body, SECRETS)).toBe(0);
    // The login goes on: the callback server still accepts its own redirect.
    const own = get(`${server.redirectUri}?code=own&state=${request.state}`);
    const callback = await arrival;
    await Promise.all([callback.fail({ title: 'Enough', text: [] }), own]);
    expect(callback.parameters.get('code')).toBe('own');
    return { ignored: true, status };
  }
  try {
    return { code: readAuthorizationResponse(request, callback.parameters) === hidden('code') };
  } finally {
    await callback.fail({ title: 'Enough', text: [] });
    expect(secretsSeen((await page).body, SECRETS)).toBe(0);
  }
}

function get(url: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const path = url.slice(url.indexOf('/', 'http://'.length));
    sendRequest({ host: hostname, port, path, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    })
      .on('error', reject)
      .end();
  });
}

function checkFailure(row: Case, error: unknown): void {
  if (!(error instanceof HoldfastError))
    throw new Error('It failed with what is no error of ours.', { cause: error });
  const { code, message, hint = '' } = error;
  expect({ code, message }).toEqual({ code: row.expect, message: expect.stringContaining(row.says ?? '') });
  for (const shown of [message, hint]) {
    expect(shown).not.toMatch(/[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}]/u);
    expect(shown.length).toBeLessThan(2000);
  }
  expect(secretsSeen(error, SECRETS)).toBe(0);
}

async function check(row: Case, found: World | undefined, run: () => Promise<Outcome>): Promise<void> {
  const result = await run().then(
    (outcome) => ({ outcome }),
    (error: unknown) => ({ error }),
  );
  if ('error' in result) checkFailure(row, result.error);
  else {
    expect('ignored' in result.outcome ? 'ignored' : 'success').toBe(row.expect);
    expect(result.outcome).toMatchObject(filled(row.outcome ?? {}, found?.names ?? {}) as Outcome);
  }
  if (row.asked !== undefined) expect(found?.server.requests).toEqual(filled(row.asked, found?.names ?? {}));
  if (row.elsewhere === undefined) expect(found?.elsewhere.requests ?? []).toEqual([]);
  expect(Object.keys(Object.prototype)).toEqual([]);
}

const TABLES: readonly {
  file: string;
  place?: string;
  good?: (issuer: string) => object;
  run: (row: Case, found: World) => Promise<Outcome>;
}[] = [
  { file: 'challenges.json', place: '/mcp', run: discovered },
  {
    file: 'resource-metadata.json',
    place: `${RESOURCE}/mcp`,
    good: (issuer) => ({ resource: `${issuer}/mcp`, authorization_servers: [issuer] }),
    run: discovered,
  },
  { file: 'server-metadata.json', place: OAUTH, good: metadata, run: discovered },
  { file: 'redirects.json', place: `${RESOURCE}/mcp`, run: discovered },
  {
    file: 'registrations.json',
    place: '/register',
    good: () => ({ client_id: CLIENT_ID, redirect_uris: [REDIRECT], token_endpoint_auth_method: 'none' }),
    run: registered,
  },
  {
    file: 'token-responses.json',
    place: '/token',
    good: () => ({ access_token: hidden('access'), token_type: 'Bearer', expires_in: 3600 }),
    run: redeemed,
  },
  {
    file: 'device-codes.json',
    place: '/device',
    good: () => ({
      device_code: 'd',
      user_code: 'ABCD-1234',
      verification_uri: 'https://as.example/device',
      expires_in: 600,
    }),
    run: deviceCode,
  },
  { file: 'callbacks.json', run: calledBack },
];

describe.each(TABLES)('the hostile answers of $file', ({ file, place, good = () => ({}), run }) => {
  test.each(table(file))('$name: $expect', async (row) => {
    const found = place === undefined ? undefined : await world(row, place, good);
    await check(row, found, () => run(row, found as World));
  });
});

test('the tables hold at least 90 cases, none twice', () => {
  const rows = TABLES.flatMap(({ file }) => table(file).map((row) => ({ file, ...row })));
  expect(rows.length).toBeGreaterThanOrEqual(90);
  expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
  expect(new Set(rows.map((row) => JSON.stringify({ ...row, name: '' }))).size).toBe(rows.length);
});
