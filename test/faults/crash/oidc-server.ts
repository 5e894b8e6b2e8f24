import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { closed, type Family, listen } from './token-server.ts';

/*
 * The real oidc-provider: rotating refresh tokens with reuse detection. Its own models create logins without a browser.
 * Its requests and answers are logged like those of token-server.ts.
 */

export interface OidcServer {
  /** Creates a login for that resource. */
  begin(resource: string): Promise<Family>;
  close(): Promise<void>;
}

const CLIENT = 'crash';
const SCOPE = 'tools:call';

export async function startOidcServer(): Promise<OidcServer> {
  // The library warns about development keys and Node versions when it loads and starts; the tests know about both.
  const { info, warn } = console;
  Object.assign(console, { info: () => {}, warn: () => {} });
  const server = createServer();
  const issuer = await listen(server);
  const { default: Provider } = await import('oidc-provider');
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT,
        token_endpoint_auth_method: 'none',
        redirect_uris: ['http://127.0.0.1:1/callback'],
        response_types: ['code'],
        grant_types: ['authorization_code', 'refresh_token'],
        application_type: 'native',
      },
    ],
    cookies: { keys: [randomBytes(16).toString('hex')] },
    scopes: ['offline_access', SCOPE],
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    findAccount: async (_context, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => [],
        useGrantedResource: async () => true,
        getResourceServerInfo: async () => ({
          scope: SCOPE,
          accessTokenFormat: 'opaque',
          accessTokenTTL: 3600,
        }),
      },
    },
    ttl: { AccessToken: 3600, Grant: 86_400, RefreshToken: 86_400 },
  });
  Object.assign(console, { info, warn });
  const begin = performance.now();
  /** The login, by every refresh token it ever issued. */
  const families = new Map<string, Family>();
  provider.use(async (context, next) => {
    await next();
    const shown = context.oidc?.params?.['refresh_token'];
    const family = typeof shown === 'string' ? families.get(shown) : undefined;
    if (typeof shown !== 'string' || family === undefined) return;
    const given = context.body as { access_token?: string; refresh_token?: string };
    const rotated = given.access_token !== undefined && given.refresh_token !== undefined;
    family.log.push({
      at: performance.now() - begin,
      which: shown === family.refreshToken ? 'current' : 'older',
      outcome: rotated ? 'rotated' : 'refused',
    });
    if (rotated) {
      family.accessToken = given.access_token ?? '';
      family.refreshToken = given.refresh_token ?? '';
      families.set(family.refreshToken, family);
    } else family.revoked = true;
  });
  const serve = provider.callback();
  server.on('request', (request, response) => void serve(request, response));

  return {
    begin: async (resource) => {
      const client = await provider.Client.find(CLIENT);
      if (client === undefined) throw new Error('The client is not there.');
      const grant = new provider.Grant({ accountId: 'alice', clientId: CLIENT });
      grant.addOIDCScope('offline_access');
      grant.addResourceScope(resource, SCOPE);
      const refreshToken = await new provider.RefreshToken({
        accountId: 'alice',
        client,
        grantId: await grant.save(),
        gty: 'authorization_code',
        scope: `offline_access ${SCOPE}`,
        resource,
        expiresWithSession: false,
      }).save();
      const family: Family = {
        endpoint: `${issuer}/token`,
        clientId: CLIENT,
        accessToken: 'of the login itself',
        refreshToken,
        revoked: false,
        log: [],
      };
      families.set(refreshToken, family);
      return family;
    },
    close: () => closed(server),
  };
}
