/**
 * A real authorization server (oidc-provider) in a process of its own: dynamic registration, PKCE, rotating refresh
 * tokens with reuse detection, resource indicators, revocation. It ends with its parent.
 *
 * The first argument is JSON: `{ accessTokenTtlSeconds?, refreshTokens? }`. The first line of output is JSON:
 * `{ issuer, control, introspection: { clientId, clientSecret } }`. The control server counts, and makes it misbehave.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

// The library tells its users about development keys and Node versions; here both are known.
for (const name of ['info', 'warn', 'error'] as const) console[name] = () => {};
const { default: Provider } = await import('oidc-provider');

interface Settings {
  accessTokenTtlSeconds?: number;
}

/** How the next token requests go wrong; `times` of them. */
interface Behaviour {
  token?:
    | '500'
    | '429'
    | 'hang'
    | 'drop-after-processing'
    | 'no-access-token'
    | 'omit-refresh-token'
    | 'omit-expiry';
  times?: number;
  delayMs?: number;
  accessTokenTtlSeconds?: number;
}

const settings: Settings = JSON.parse(process.argv[2] ?? '{}');
let behaviour: Behaviour = {};
let accessTokenTtl = settings.accessTokenTtlSeconds ?? 3600;
const counters = {
  registrations: 0,
  codeGrants: 0,
  refreshGrants: 0,
  tokenRequests: 0,
  tokenErrors: 0,
  grantsRevoked: 0,
  revocations: 0,
};
const grants = new Set<string>();

const server = createServer();
const issuer = await listen(server);
const introspection = { clientId: 'mcp-server', clientSecret: randomBytes(16).toString('hex') };
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: introspection.clientId,
      client_secret: introspection.clientSecret,
      redirect_uris: [],
      response_types: [],
      grant_types: [],
    },
  ],
  cookies: { keys: [randomBytes(16).toString('hex')] },
  scopes: ['openid', 'offline_access', 'tools:call'],
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async () => true,
  findAccount: async (_context, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true, allowedPolicy: async () => true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async () => [],
      useGrantedResource: async () => true,
      getResourceServerInfo: async () => ({
        scope: 'tools:call',
        accessTokenFormat: 'opaque',
        accessTokenTTL: accessTokenTtl,
      }),
    },
  },
  ttl: { Interaction: 600, Session: 600, Grant: 86_400, RefreshToken: 86_400, AuthorizationCode: 60 },
});
provider.on('registration_create.success', () => {
  counters.registrations += 1;
});
provider.on('grant.success', (context) => {
  if (context.oidc.params?.['grant_type'] === 'refresh_token') counters.refreshGrants += 1;
  else counters.codeGrants += 1;
  const grant = context.oidc.entities.Grant?.jti;
  if (grant !== undefined) grants.add(grant);
});
provider.on('grant.error', () => {
  counters.tokenErrors += 1;
});
provider.on('grant.revoked', () => {
  counters.grantsRevoked += 1;
});
provider.use(async (context, next) => {
  if (context.path === '/token/revocation') counters.revocations += 1;
  if (context.path !== '/token') return next();
  counters.tokenRequests += 1;
  const { token, times = 0, delayMs } = behaviour;
  if (delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, delayMs));
  if (token === undefined || times <= 0) return next();
  behaviour = { ...behaviour, times: times - 1 };
  switch (token) {
    case '500':
    case '429':
      context.status = Number(token);
      if (token === '429') context.set('retry-after', '1');
      context.body = 'in trouble';
      return;
    case 'hang':
      context.respond = false;
      return;
    default:
  }
  await next();
  if (token === 'drop-after-processing') context.req.socket.destroy();
  const body = context.body;
  if (typeof body !== 'object' || body === null) return;
  const without = {
    'no-access-token': ['access_token'],
    'omit-refresh-token': ['refresh_token', 'scope'],
    'omit-expiry': ['expires_in'],
  }[token as 'no-access-token'];
  for (const member of without ?? []) Reflect.deleteProperty(body, member);
});
const serve = provider.callback();
server.on('request', (request, response) => void serve(request, response));

const control = createServer((request, response) => {
  void answerControl(request, response);
});
process.stdout.write(`${JSON.stringify({ issuer, control: await listen(control), introspection })}\n`);
process.stdin.resume().on('end', () => process.exit());

async function answerControl(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = '';
  for await (const chunk of request) body += chunk;
  if (request.url === '/behaviour') {
    behaviour = { times: 1, ...JSON.parse(body) };
    accessTokenTtl = behaviour.accessTokenTtlSeconds ?? accessTokenTtl;
  }
  if (request.url === '/revoke-grants') {
    for (const id of grants) {
      await (await provider.Grant.find(id))?.destroy();
      await provider.RefreshToken.revokeByGrantId(id);
      await provider.AccessToken.revokeByGrantId(id);
    }
  }
  response.setHeader('content-type', 'application/json').end(JSON.stringify(counters));
}

async function listen(target: ReturnType<typeof createServer>): Promise<string> {
  await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(target.address() as AddressInfo).port}`;
}
