/**
 * A real authorization server (oidc-provider) in its own process: dynamic registration, PKCE, rotating refresh tokens
 * with reuse detection, resource indicators, revocation, DPoP, and more by its settings. It ends with its parent.
 *
 * The first argument is JSON: `OidcSettings` (oidc-configuration.ts, published-metadata.ts). The first line of output
 * is JSON: `{ issuer, control, introspection: { endpoint, clientId, clientSecret } }`. The control server reports
 * counters and makes this server misbehave.
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { type OidcSettings, oidcConfiguration } from './oidc-configuration.ts';
import { announce, listen, openControl, settingsOf } from './process.ts';
import { mounted, type PublishedSettings, publishing, withIssParameter } from './published-metadata.ts';

// The library warns about development keys and Node versions; the tests know about both.
for (const name of ['info', 'warn', 'error'] as const) console[name] = () => {};
const { default: Provider } = await import('oidc-provider');

/** The failure of the next `times` token requests. */
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

const settings = settingsOf<OidcSettings>();
let published: PublishedSettings = settings;
let behaviour: Behaviour = {};
let accessTokenTtl = settings.accessTokenTtlSeconds ?? 3600;
const counters = {
  registrations: 0,
  codeGrants: 0,
  refreshGrants: 0,
  clientCredentialsGrants: 0,
  deviceGrants: 0,
  tokenRequests: 0,
  tokenErrors: 0,
  grantsRevoked: 0,
  revocations: 0,
};
const COUNTER_OF_GRANT: Readonly<Record<string, keyof typeof counters>> = {
  authorization_code: 'codeGrants',
  refresh_token: 'refreshGrants',
  client_credentials: 'clientCredentialsGrants',
  'urn:ietf:params:oauth:grant-type:device_code': 'deviceGrants',
};
const grants = new Set<string>();

const server = createServer();
const issuer = `${await listen(server)}${settings.issuerPath ?? ''}`;
const resourceServer = { clientId: 'mcp-server', clientSecret: randomBytes(16).toString('hex') };
const provider = new Provider(
  issuer,
  oidcConfiguration(settings, resourceServer, () => accessTokenTtl),
);
provider.on('registration_create.success', () => {
  counters.registrations += 1;
});
provider.on('grant.success', (context) => {
  const counter = COUNTER_OF_GRANT[String(context.oidc.params?.['grant_type'])];
  if (counter !== undefined) counters[counter] += 1;
  const grant = context.oidc.entities.Grant?.jti;
  if (grant !== undefined) grants.add(grant);
});
provider.on('grant.error', () => {
  counters.tokenErrors += 1;
});
provider.on('grant.revoked', () => {
  counters.grantsRevoked += 1;
});
provider.use(publishing(() => published));
provider.use(withIssParameter(() => published));
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
server.on('request', (request, response) => {
  if (mounted(request, published)) void serve(request, response);
  else response.writeHead(404).end();
});

const control = await openControl(() => counters, {
  '/behaviour': (asked) => {
    behaviour = { times: 1, ...(asked as Behaviour) };
    accessTokenTtl = behaviour.accessTokenTtlSeconds ?? accessTokenTtl;
  },
  '/publish': (changes) => {
    published = { ...settings, ...(changes as PublishedSettings) };
  },
  '/revoke-grants': async () => {
    for (const id of grants) {
      await (await provider.Grant.find(id))?.destroy();
      await provider.RefreshToken.revokeByGrantId(id);
      await provider.AccessToken.revokeByGrantId(id);
    }
  },
});
announce({
  issuer,
  control,
  introspection: { endpoint: `${issuer}/token/introspection`, ...resourceServer },
});
