import { randomBytes } from 'node:crypto';
import type { ClientMetadata, Configuration } from 'oidc-provider';
import type { PublishedSettings } from './published-metadata.ts';

/** Settings of oidc-provider. All are off by default. */
export interface OidcSettings extends PublishedSettings {
  readonly accessTokenTtlSeconds?: number | undefined;
  /** Scopes of the resources in addition to `tools:call`. */
  readonly resourceScopes?: readonly string[] | undefined;
  /** Clients registered in advance (RFC 7591 section 2, with `client_id`), for every grant they name. */
  readonly clients?: readonly Readonly<Record<string, unknown>>[] | undefined;
  /** `false` turns dynamic registration off. */
  readonly registration?: false | undefined;
  /**
   * Client ID Metadata Documents, each under its URL. The server reads them from here, since their URLs are https and a
   * server on loopback has no certificate it would trust.
   */
  readonly clientIdMetadataDocuments?: Readonly<Record<string, unknown>> | undefined;
  /** Issues a refresh token only for `offline_access` with `prompt=consent` (OpenID Connect Core section 11). */
  readonly refreshTokens?: 'offline_access' | undefined;
  /** Refuses a DPoP proof without a nonce of the server (RFC 9449 section 8). */
  readonly dpopNonce?: boolean | undefined;
  /** Offers the device authorization grant (RFC 8628), with pages for the user code. */
  readonly deviceFlow?: boolean | undefined;
}

/** The configuration for those settings. The client `resourceServer` may introspect every token. */
export function oidcConfiguration(
  settings: OidcSettings,
  resourceServer: { clientId: string; clientSecret: string },
  accessTokenTtl: () => number,
): Configuration {
  const scope = ['tools:call', ...(settings.resourceScopes ?? [])].join(' ');
  const documents = settings.clientIdMetadataDocuments;
  return {
    clients: [
      {
        client_id: resourceServer.clientId,
        client_secret: resourceServer.clientSecret,
        redirect_uris: [],
        response_types: [],
        grant_types: [],
      },
      ...((settings.clients ?? []) as ClientMetadata[]),
    ],
    cookies: { keys: [randomBytes(16).toString('hex')] },
    scopes: ['openid', 'offline_access', ...scope.split(' ')],
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: async (_context, client, code) =>
      settings.refreshTokens === undefined ||
      (client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access')),
    findAccount: async (_context, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    ...(documents === undefined ? {} : { fetch: readFrom(documents) }),
    features: {
      devInteractions: { enabled: true },
      registration: { enabled: settings.registration ?? true },
      revocation: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      clientCredentials: { enabled: settings.clients !== undefined },
      deviceFlow: { enabled: settings.deviceFlow ?? false },
      ...(settings.dpopNonce
        ? { dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true } }
        : {}),
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => [],
        useGrantedResource: async () => true,
        getResourceServerInfo: async () => ({
          scope,
          accessTokenFormat: 'opaque',
          accessTokenTTL: accessTokenTtl(),
        }),
      },
      ...(documents === undefined ? {} : { clientIdMetadataDocument: { enabled: true, ack: 'draft-02' } }),
    },
    ttl: {
      Interaction: 600,
      Session: 600,
      Grant: 86_400,
      RefreshToken: 86_400,
      AuthorizationCode: 60,
      DeviceCode: 600,
      ClientCredentials: () => accessTokenTtl(),
    },
  };
}

function readFrom(documents: Readonly<Record<string, unknown>>) {
  return async (url: unknown): Promise<Response> => {
    const document = documents[String(url)];
    if (document === undefined) return new Response(undefined, { status: 404 });
    return Response.json(document);
  };
}
