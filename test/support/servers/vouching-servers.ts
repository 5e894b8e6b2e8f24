import { randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import {
  type CryptoKey,
  createRemoteJWKSet,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  type JWTPayload,
  errors as joseErrors,
  jwtVerify,
  SignJWT,
} from 'jose';
import type { Configuration, default as Provider, TokenEndpointGrantContext } from 'oidc-provider';
import { onTestFinished, vi } from 'vitest';
import { oidcConfiguration } from './oidc-configuration.ts';
import { listen } from './process.ts';
import type { TokenSource } from './token-claims.ts';

/*
 * Parties that vouch for others: a platform that issues tokens to its workloads, an enterprise identity provider that
 * exchanges ID tokens for ID-JAGs (RFC 8693), and an authorization server that accepts both as a grant (RFC 7523). The
 * last two are oidc-provider with their own grant. jose really checks signatures, issuers, audiences and expiries. All
 * end with the test.
 */

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';

/** Claims of a token made for a test. */
export interface Claims {
  readonly audience: string;
  readonly subject?: string | undefined;
  /** Life in seconds from now; negative for an expired token. Default: 300. */
  readonly lifeSeconds?: number | undefined;
}

/** A platform whose workloads need no login. */
export interface Platform {
  readonly issuer: string;
  readonly publicKey: CryptoKey;
  token(claims: Claims): Promise<string>;
}

export interface IdentityProvider {
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly jwksUri: string;
  /** Grant type and status of each token request so far. */
  readonly asked: readonly string[];
  /** The ID token of a person who logged in there. Its audience is the client id. */
  idToken(claims: Claims): Promise<string>;
  /** The answer to the next exchanges in place of an ID-JAG. */
  gives(answer: Readonly<Record<string, unknown>> | undefined): void;
}

export interface AssertionServer {
  readonly issuer: string;
  readonly tokens: TokenSource;
  /** Grant type and status of each token request so far. */
  readonly asked: readonly string[];
  /** Paths of all other requests, except those for metadata. */
  readonly others: readonly string[];
  /** Claims of each accepted assertion. */
  readonly taken: readonly JWTPayload[];
}

export async function platform(): Promise<Platform> {
  const issuer = 'https://platform.example';
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  return {
    issuer,
    publicKey,
    token: (claims) => signed(claims, issuer, {}, { alg: 'ES256' }, privateKey),
  };
}

/**
 * Starts the identity provider.
 *
 * @param client the client that gets ID tokens
 * @param clientElsewhere the id of the same client at the servers that accept ID-JAGs
 */
export async function identityProvider(
  client: { readonly id: string; readonly secret: string },
  clientElsewhere: string,
): Promise<IdentityProvider> {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
  const header = { alg: 'ES256', kid: 'idp-key' };
  const jwks = { keys: [{ ...(await exportJWK(privateKey)), ...header, use: 'sig' }] };
  let given: Readonly<Record<string, unknown>> | undefined;
  const { issuer, asked } = await provider(
    () => ({
      jwks,
      clientDefaults: { id_token_signed_response_alg: 'ES256' },
      clients: [registered({ client_id: client.id, client_secret: client.secret }, [TOKEN_EXCHANGE])],
      features: { devInteractions: { enabled: false } },
    }),
    ({ provider: idp, errors, issuer: own }) => {
      const exchange = async (context: TokenEndpointGrantContext<Record<string, string>>) => {
        const { params, client: who } = context.oidc;
        const good = params['requested_token_type'] === ID_JAG && params['subject_token_type'] === ID_TOKEN;
        const { subject_token: idToken, audience, resource, scope } = params;
        if (!good || !idToken || !audience || typeof resource !== 'string') {
          throw new errors.InvalidRequest('an exchange of an ID token for an ID-JAG needs more');
        }
        const { sub } = await verified(errors, () =>
          jwtVerify(idToken, publicKey, { issuer: own, audience: who.clientId, requiredClaims: ['exp'] }),
        );
        const idJag = await signed(
          { audience, subject: sub },
          own,
          { client_id: clientElsewhere, resource, scope },
          { ...header, typ: 'oauth-id-jag+jwt' },
          privateKey,
        );
        context.body = given ?? {
          access_token: idJag,
          issued_token_type: ID_JAG,
          token_type: 'N_A',
          expires_in: 300,
        };
      };
      idp.registerGrantType(TOKEN_EXCHANGE, exchange, [
        'requested_token_type',
        'audience',
        'resource',
        'scope',
        'subject_token',
        'subject_token_type',
      ]);
    },
  );
  return {
    issuer,
    tokenEndpoint: `${issuer}/token`,
    jwksUri: `${issuer}/jwks`,
    asked,
    idToken: (claims) => signed(claims, issuer, {}, header, privateKey),
    gives: (answer) => {
      given = answer;
    },
  };
}

/** Accepts assertions of the parties it trusts. The client authenticates with its secret, or not at all without one. */
export async function assertionServer(
  client: { readonly id: string; readonly secret?: string },
  options: {
    readonly platform?: Platform | undefined;
    readonly identityProvider?: IdentityProvider | undefined;
    /** Whether it issues refresh tokens, which rotate. */
    readonly refreshTokens?: boolean | undefined;
  },
): Promise<AssertionServer> {
  const resourceServer = { clientId: 'mcp-server', clientSecret: randomBytes(16).toString('hex') };
  const taken: JWTPayload[] = [];
  const { issuer, asked, others } = await provider(
    () =>
      oidcConfiguration(
        {
          registration: false,
          clients: [
            registered({ client_id: client.id, client_secret: client.secret }, [JWT_BEARER, 'refresh_token']),
          ],
        },
        resourceServer,
        () => 3600,
      ),
    ({ provider: as, errors, issuer: own }) => {
      const idpKeys =
        options.identityProvider && createRemoteJWKSet(new URL(options.identityProvider.jwksUri));
      const bearer = async (context: TokenEndpointGrantContext<Record<string, string>>) => {
        const { params, client: who } = context.oidc;
        const { assertion, resource, scope } = params;
        if (!assertion || typeof resource !== 'string')
          throw new errors.InvalidRequest('something is missing');
        const claims = await verified(errors, async () => {
          const isJag = decodeProtectedHeader(assertion).typ === 'oauth-id-jag+jwt';
          const rules = { audience: own, requiredClaims: ['exp', 'sub', 'jti'] };
          if (isJag && idpKeys !== undefined) {
            const { issuer: idp } = options.identityProvider ?? {};
            return jwtVerify(assertion, idpKeys, { ...rules, issuer: idp ?? '', typ: 'oauth-id-jag+jwt' });
          }
          if (isJag || !options.platform) throw new joseErrors.JWTInvalid('its issuer is not trusted');
          return jwtVerify(assertion, options.platform.publicKey, {
            ...rules,
            issuer: options.platform.issuer,
          });
        });
        if (claims['client_id'] !== undefined) {
          // An ID-JAG is good for one client, one resource and one use.
          const again = taken.some(({ jti }) => jti === claims.jti);
          if (claims['client_id'] !== who.clientId || claims['resource'] !== resource || again) {
            throw new errors.InvalidGrant('the ID-JAG is for another client or resource, or was used before');
          }
        }
        taken.push(claims);
        const accountId = claims.sub ?? '';
        const grant = new as.Grant({ accountId, clientId: who.clientId });
        grant.addResourceScope(resource, scope ?? '');
        const source = {
          accountId,
          client: who,
          grantId: await grant.save(),
          gty: 'jwt-bearer',
          scope: scope ?? '',
        };
        const token = new as.AccessToken(source);
        token.resourceServer = new as.ResourceServer(resource, {
          scope: 'tools:call',
          accessTokenFormat: 'opaque',
        });
        const refresh = new as.RefreshToken({ ...source, resource, rotations: 0 });
        context.body = {
          access_token: await token.save(),
          token_type: 'Bearer',
          expires_in: 3600,
          scope,
          ...(options.refreshTokens === true ? { refresh_token: await refresh.save() } : {}),
        };
      };
      as.registerGrantType(JWT_BEARER, bearer, ['assertion', 'resource', 'scope']);
    },
  );
  const tokens = { issuer, introspection: { endpoint: `${issuer}/token/introspection`, ...resourceServer } };
  return { issuer, tokens, asked, others, taken };
}

/** The server reports every invalid assertion in the same way (RFC 7521 section 4.1.1). */
async function verified(
  { InvalidGrant }: typeof import('oidc-provider')['errors'],
  verify: () => Promise<{ payload: JWTPayload }>,
): Promise<JWTPayload> {
  try {
    return (await verify()).payload;
  } catch (error) {
    if (error instanceof joseErrors.JOSEError) throw new InvalidGrant(error.message);
    throw error;
  }
}

function signed(
  { audience, subject = 'a-person', lifeSeconds = 300 }: Claims,
  issuer: string,
  claims: JWTPayload,
  header: { alg: string; kid?: string; typ?: string },
  key: CryptoKey,
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT(claims)
    .setProtectedHeader(header)
    .setIssuer(issuer)
    .setAudience(audience)
    .setSubject(subject)
    .setJti(randomUUID())
    .setIssuedAt(now + Math.min(0, lifeSeconds))
    .setExpirationTime(now + lifeSeconds)
    .sign(key);
}

function registered(client: { client_id: string; client_secret?: string | undefined }, grants: string[]) {
  return {
    ...client,
    token_endpoint_auth_method: client.client_secret === undefined ? ('none' as const) : undefined,
    grant_types: grants,
    response_types: [],
    redirect_uris: [],
  };
}

type Library = typeof import('oidc-provider');

async function provider(
  configuration: () => Configuration,
  settle: (parts: { provider: Provider; errors: Library['errors']; issuer: string }) => void,
): Promise<{ issuer: string; asked: string[]; others: string[] }> {
  // The library warns about development keys; the tests know about them.
  for (const name of ['info', 'warn', 'error'] as const) vi.spyOn(console, name).mockReturnValue();
  const { default: Oidc, errors } = await import('oidc-provider');
  const [asked, others]: [string[], string[]] = [[], []];
  const server = createServer();
  const issuer = await listen(server);
  onTestFinished(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  });
  const oidc = new Oidc(issuer, configuration());
  settle({ provider: oidc, errors, issuer });
  oidc.use(async (context, next) => {
    await next();
    if (context.path === '/token')
      asked.push(`${String(context.oidc.params?.['grant_type'])} ${context.status}`);
    else if (!/^\/(\.well-known|jwks|token\/introspection)/.test(context.path)) others.push(context.path);
  });
  const serve = oidc.callback();
  server.on('request', (request, response) => void serve(request, response));
  return { issuer, asked, others };
}
