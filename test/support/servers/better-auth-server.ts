/**
 * A second real authorization server (better-auth with its OAuth provider plugin) in its own process: an issuer with a
 * path, access tokens that are JWTs, and refresh tokens for `offline_access` only, rotated, with reuse detection. It
 * ends with its parent. The users are alice and bob, `<name>@example.com`; their password is "any".
 *
 * The first argument is JSON: `BetterAuthSettings`. The first line of output is JSON: `{ issuer, control, jwksUri }`.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { oauthProvider } from '@better-auth/oauth-provider';
import { type BetterAuthPlugin, betterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { toNodeHandler } from 'better-auth/node';
import { jwt } from 'better-auth/plugins';
import { announce, bodyOf, listen, openControl, settingsOf } from './process.ts';

interface BetterAuthSettings {
  /** The only resources this server issues tokens for. */
  resources: string[];
  accessTokenTtlSeconds?: number;
  resourceScopes?: string[];
}

const BASE = '/api/auth';
const settings = settingsOf<BetterAuthSettings>();
const scopes = ['openid', 'offline_access', 'tools:call', ...(settings.resourceScopes ?? [])];
const counters = {
  registrations: 0,
  codeGrants: 0,
  refreshGrants: 0,
  tokenRequests: 0,
  tokenErrors: 0,
  revocations: 0,
};

const server = createServer();
const origin = await listen(server);
const tables: Record<string, never[]> = {};
for (const name of ['user', 'session', 'account', 'verification', 'jwks']) tables[name] = [];
for (const name of ['Client', 'Resource', 'ClientResource', 'AccessToken', 'RefreshToken', 'Consent']) {
  tables[`oauth${name}`] = [];
}
tables['oauthClientAssertion'] = [];
const auth = betterAuth({
  baseURL: origin,
  basePath: BASE,
  secret: randomBytes(32).toString('hex'),
  database: memoryAdapter(tables),
  emailAndPassword: { enabled: true, minPasswordLength: 3 },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  logger: { disabled: true },
  plugins: [
    jwt(),
    oauthProvider({
      loginPage: '/sign-in',
      consentPage: '/consent',
      scopes,
      resources: settings.resources.map((identifier) => ({
        identifier,
        accessTokenTtl: settings.accessTokenTtlSeconds ?? 3600,
      })),
      clientRegistrationDefaultResources: settings.resources,
      allowDynamicClientRegistration: true,
      allowUnauthenticatedClientRegistration: true,
      silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true },
      // The plugin's types do not fit exactOptionalPropertyTypes.
    }) as unknown as BetterAuthPlugin,
  ],
});
for (const name of ['alice', 'bob']) {
  await auth.api.signUpEmail({ body: { name, email: `${name}@example.com`, password: 'any' } });
}

const serve = toNodeHandler(auth);
server.on('request', (request, response) => {
  const { pathname } = new URL(request.url ?? '', origin);
  const page = { '/sign-in': signIn, '/consent': consent, '/consent/abort': refuse }[pathname];
  if (page === undefined) void count(pathname, request, response);
  else void page(request, response).catch(() => response.writeHead(500).end());
});

const control = await openControl(() => counters, {
  '/revoke-grants': async () => {
    const { adapter } = await auth.$context;
    for (const model of ['oauthRefreshToken', 'oauthAccessToken', 'oauthConsent', 'session']) {
      await adapter.deleteMany({ model, where: [] });
    }
  },
});
announce({ issuer: `${origin}${BASE}`, control, jwksUri: `${origin}${BASE}/jwks` });

async function count(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = path === `${BASE}/oauth2/token` ? await bodyAhead(request) : '';
  await serve(request, response);
  const good = response.statusCode < 400;
  if (path === `${BASE}/oauth2/register` && good) counters.registrations += 1;
  if (path === `${BASE}/oauth2/revoke`) counters.revocations += 1;
  if (path !== `${BASE}/oauth2/token`) return;
  counters.tokenRequests += 1;
  const grantType = new URLSearchParams(body).get('grant_type');
  if (!good) counters.tokenErrors += 1;
  else if (grantType === 'refresh_token') counters.refreshGrants += 1;
  else if (grantType === 'authorization_code') counters.codeGrants += 1;
}

/** Reads the body, and stores it where the library expects a body that was already read. */
async function bodyAhead(request: IncomingMessage): Promise<string> {
  const body = await bodyOf(request);
  Object.assign(request, { body });
  return body;
}

/* The pages that better-auth leaves to the application. Their forms call its endpoints. */

async function signIn(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method === 'GET') {
    form(
      request,
      response,
      'Sign in',
      '<input type="email" name="email"><input type="password" name="password">',
    );
    return;
  }
  const fields = new URLSearchParams(await bodyOf(request));
  await handOn(request, response, 'sign-in/email', {
    email: fields.get('email'),
    password: fields.get('password'),
    oauth_query: fields.get('oauth_query'),
  });
}

async function consent(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method === 'GET') {
    const { search } = new URL(request.url ?? '', origin);
    form(request, response, 'Allow access?', `<a href="/consent/abort${escaped(search)}">[ Cancel ]</a>`);
    return;
  }
  const fields = new URLSearchParams(await bodyOf(request));
  await handOn(request, response, 'oauth2/consent', {
    accept: true,
    oauth_query: fields.get('oauth_query'),
  });
}

async function refuse(request: IncomingMessage, response: ServerResponse): Promise<void> {
  await handOn(request, response, 'oauth2/consent', {
    accept: false,
    oauth_query: new URL(request.url ?? '', origin).search.slice(1),
  });
}

/** The server signed the page's query, so the form sends it along. */
function form(request: IncomingMessage, response: ServerResponse, title: string, inputs: string): void {
  const { pathname, search } = new URL(request.url ?? '', origin);
  response
    .setHeader('content-type', 'text/html')
    .end(
      `<!doctype html><title>${title}</title><form method="post" action="${pathname}">` +
        `<input type="hidden" name="oauth_query" value="${escaped(search.slice(1))}">${inputs}<button>${title}</button></form>`,
    );
}

function escaped(query: string): string {
  return query.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
}

/** Calls better-auth as the page's script would, and redirects the browser to the URL in the answer. */
async function handOn(
  request: IncomingMessage,
  response: ServerResponse,
  endpoint: string,
  body: unknown,
): Promise<void> {
  const answer = await auth.handler(
    new Request(`${origin}${BASE}/${endpoint}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        origin,
        ...(request.headers.cookie === undefined ? {} : { cookie: request.headers.cookie }),
      },
      body: JSON.stringify(body),
    }),
  );
  const { url } = (await answer.json()) as { url?: string };
  if (!answer.ok || url === undefined) {
    response.writeHead(answer.status).end(`better-auth answered ${answer.status} and no URL.`);
    return;
  }
  response.setHeader('set-cookie', answer.headers.getSetCookie());
  response.writeHead(303, { location: url }).end();
}
