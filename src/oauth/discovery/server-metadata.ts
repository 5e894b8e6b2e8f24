import * as v from 'valibot';
import {
  InvalidResponseError,
  IssuerMismatchError,
  ServerUnsupportedError,
  UnsafeUrlError,
} from '../../errors.ts';
import type { RequestOptions } from '../../http/request.ts';
import { checkPublishedUrl, checkUrl } from '../../http/safe-url.ts';
import { checkHost } from '../../http/socket.ts';
import { quote } from '../../quote.ts';
import type { Leniency, LeniencyUsed } from '../leniency.ts';
import { metadataDocument, Scopes } from './metadata-document.ts';

/** The members of the authorization server's metadata that a login needs (RFC 8414 section 2). */
export interface ServerMetadata {
  readonly issuer: string;
  /** Absent at a server that no user logs in to. */
  readonly authorizationEndpoint: string | undefined;
  readonly tokenEndpoint: string;
  readonly registrationEndpoint: string | undefined;
  readonly revocationEndpoint: string | undefined;
  /** RFC 8628 section 4. */
  readonly deviceAuthorizationEndpoint: string | undefined;
  readonly scopesSupported: readonly string[] | undefined;
  readonly tokenEndpointAuthMethods: readonly string[] | undefined;
  readonly signingAlgorithms?: readonly string[] | undefined;
  /** RFC 9207 section 3. */
  readonly issParameterSupported: boolean;
  /** Whether the server accepts the URL of a Client ID Metadata Document as client id. */
  readonly clientIdMetadataDocumentSupported: boolean;
}

export interface ServerMetadataOptions extends RequestOptions {
  readonly lenient?: Leniency | undefined;
  /**
   * Whether a user logs in with a browser. Default `true`; other flows need neither the authorization endpoint nor
   * PKCE.
   */
  readonly browser?: boolean | undefined;
  /** Called for each leniency that was needed. */
  readonly used?: ((leniency: LeniencyUsed) => void) | undefined;
}

const AuthorizationServerMetadata = v.object({
  issuer: v.string(),
  authorization_endpoint: v.optional(v.string()),
  token_endpoint: v.optional(v.string()),
  registration_endpoint: v.optional(v.string()),
  revocation_endpoint: v.optional(v.string()),
  device_authorization_endpoint: v.optional(v.string()),
  scopes_supported: Scopes,
  token_endpoint_auth_methods_supported: v.optional(v.array(v.string())),
  token_endpoint_auth_signing_alg_values_supported: v.optional(v.array(v.string())),
  code_challenge_methods_supported: v.optional(v.array(v.string())),
  authorization_response_iss_parameter_supported: v.optional(v.boolean()),
  client_id_metadata_document_supported: v.optional(v.boolean()),
});
type Metadata = v.InferOutput<typeof AuthorizationServerMetadata>;

/**
 * Characters that the URL of a login page never needs, and that a shell or a careless opener would act on. `&`, `?`,
 * `#` and `%` belong to URLs; Holdfast itself passes no URL to a shell.
 */
export const FOR_A_SHELL = /[\s"'`$()<>|\\^{};]|\p{Cc}/u;

/**
 * Fetches an issuer's metadata from the first well-known URL that has a document (RFC 8414, OpenID Connect Discovery).
 *
 * @param resource the MCP server that named the issuer
 * @throws IssuerMismatchError, UnsafeUrlError, InvalidResponseError, ServerUnsupportedError for the published metadata
 */
export async function serverMetadata(
  issuer: string,
  resource: URL,
  options: ServerMetadataOptions,
): Promise<ServerMetadata | undefined> {
  if (/[?#]/.test(issuer)) {
    throw new UnsafeUrlError(`The issuer ${quote(issuer)} has a query or a fragment (RFC 8414 section 2).`, {
      hint: 'It was not asked. Tell who runs the MCP server.',
    });
  }
  const url = checkPublishedUrl(issuer, 'issuer', resource, options.lenient?.privateAddresses);
  const override = options.lenient?.metadataUrl;
  if (override !== undefined) return await fromOverride(override, issuer, resource, options);
  for (const address of metadataUrls(url)) {
    const metadata = await metadataDocument(address, AuthorizationServerMetadata, options);
    if (metadata !== undefined) return checkedMetadata(metadata, issuer, address, resource, options);
  }
  return undefined;
}

/**
 * Returns the endpoints of a server of MCP 2025-03-26 that publishes no metadata: at the root of its origin. Only for a
 * server that the user named.
 */
export function legacyServer({ origin }: URL, { used }: ServerMetadataOptions): ServerMetadata {
  used?.({
    name: 'legacy-endpoints',
    message: `${quote(origin)} publishes no metadata: /authorize, /token and /register there were taken for its endpoints.`,
  });
  return {
    issuer: origin,
    authorizationEndpoint: `${origin}/authorize`,
    tokenEndpoint: `${origin}/token`,
    registrationEndpoint: `${origin}/register`,
    revocationEndpoint: undefined,
    deviceAuthorizationEndpoint: undefined,
    scopesSupported: undefined,
    tokenEndpointAuthMethods: ['none', 'client_secret_post', 'client_secret_basic'],
    issParameterSupported: false,
    clientIdMetadataDocumentSupported: false,
  };
}

/** RFC 8414 section 3.1 inserts the suffix before the path; OpenID Connect Discovery also appends it. */
function metadataUrls({ origin, pathname }: URL): string[] {
  const path = pathname.replace(/\/$/, '');
  return path === ''
    ? [`${origin}/.well-known/oauth-authorization-server`, `${origin}/.well-known/openid-configuration`]
    : [
        `${origin}/.well-known/oauth-authorization-server${path}`,
        `${origin}/.well-known/openid-configuration${path}`,
        `${origin}${path}/.well-known/openid-configuration`,
      ];
}

/**
 * Fetches the document that the user named. It may also name the issuer whose well-known URL this is (RFC 8414 section
 * 3.3).
 */
async function fromOverride(
  address: string,
  issuer: string,
  resource: URL,
  options: ServerMetadataOptions,
): Promise<ServerMetadata> {
  // The user chose this URL, so it may be on any network.
  const reach = options.reach === 'anyone' ? 'anyone' : 'anywhere';
  const metadata = await metadataDocument(checkUrl(address).href, AuthorizationServerMetadata, {
    ...options,
    reach,
  });
  if (metadata === undefined) {
    throw new InvalidResponseError(`There is no authorization server metadata at ${quote(address)}.`, {
      hint: 'Check the metadata URL that was set for this server.',
    });
  }
  options.used?.({
    name: 'metadata-url',
    message: `The metadata at ${quote(address)} was used, as it was set.`,
  });
  const own = metadata.issuer;
  const standsForIt = URL.canParse(own) && metadataUrls(new URL(own)).includes(address);
  return checkedMetadata(metadata, standsForIt ? own : issuer, address, resource, options);
}

function checkedMetadata(
  metadata: Metadata,
  issuer: string,
  address: string,
  resource: URL,
  options: ServerMetadataOptions,
): ServerMetadata {
  checkIssuer(metadata.issuer, issuer, address, options);
  const { token_endpoint: token } = metadata;
  if (token === undefined) throw lacks(issuer, 'token endpoint');
  if (options.browser !== false) checkForBrowser(metadata, issuer, resource, options);
  const optional = (url: string | undefined, name: string) => {
    if (url !== undefined) checkPublishedUrl(url, name, resource, options.lenient?.privateAddresses);
    return url;
  };
  checkPublishedUrl(token, 'token endpoint', resource, options.lenient?.privateAddresses);
  return {
    issuer: metadata.issuer,
    authorizationEndpoint: metadata.authorization_endpoint,
    tokenEndpoint: token,
    registrationEndpoint: optional(metadata.registration_endpoint, 'registration endpoint'),
    revocationEndpoint: optional(metadata.revocation_endpoint, 'revocation endpoint'),
    deviceAuthorizationEndpoint: optional(
      metadata.device_authorization_endpoint,
      'device authorization endpoint',
    ),
    scopesSupported: metadata.scopes_supported,
    tokenEndpointAuthMethods: metadata.token_endpoint_auth_methods_supported,
    signingAlgorithms: metadata.token_endpoint_auth_signing_alg_values_supported,
    issParameterSupported: metadata.authorization_response_iss_parameter_supported ?? false,
    clientIdMetadataDocumentSupported: metadata.client_id_metadata_document_supported ?? false,
  };
}

function checkIssuer(
  named: string,
  issuer: string,
  address: string,
  { lenient, used }: ServerMetadataOptions,
): void {
  if (named === issuer) return;
  const message = `The authorization server at ${quote(address)} calls itself ${quote(named)}, not ${quote(issuer)}.`;
  if (named === lenient?.trustedIssuer) return used?.({ name: 'trusted-issuer', message });
  throw new IssuerMismatchError(message, {
    hint: `One server may be posing as another (RFC 8414 section 3.3), so nothing was sent to it. Tell who runs the MCP server. If you know that it is right: --trusted-issuer ${shellWord(named)}`,
  });
}

/** Checks that the server supports the authorization code grant. */
function checkForBrowser(
  metadata: Metadata,
  issuer: string,
  resource: URL,
  { lenient, used, reach }: ServerMetadataOptions,
): void {
  const { authorization_endpoint: authorization, code_challenge_methods_supported: methods } = metadata;
  if (authorization === undefined) throw lacks(issuer, 'authorization endpoint');
  if (methods?.includes('S256') !== true) {
    const silent = methods === undefined;
    if (!silent || lenient?.pkceNotAdvertised !== true) {
      throw new ServerUnsupportedError(`${quote(issuer)} does not say that it supports PKCE with S256.`, {
        hint: `MCP clients must refuse such a server (RFC 7636, MCP authorization). Tell who runs it.${silent ? ' If you know that it does: --lenient pkce-not-advertised' : ''}`,
      });
    }
    used?.({
      name: 'pkce-not-advertised',
      message: `${quote(issuer)} does not say whether it supports PKCE; it was used all the same.`,
    });
  }
  // The browser opens this URL, not Holdfast, so no connection check applies: check the host in the URL instead.
  checkHost(
    checkPublishedUrl(authorization, 'authorization endpoint', resource, lenient?.privateAddresses),
    reach ?? 'anywhere',
  );
  if (FOR_A_SHELL.test(authorization)) {
    throw new UnsafeUrlError(
      `The authorization endpoint of ${quote(issuer)} holds characters that a shell would act on: ${quote(authorization)}.`,
      { hint: 'It was not opened. Tell who runs the server.' },
    );
  }
}

function lacks(issuer: string, what: string): InvalidResponseError {
  return new InvalidResponseError(`The metadata of ${quote(issuer)} names no ${what}.`, {
    hint: 'Tell who runs the authorization server.',
  });
}

/** Quotes text for a shell; returns a placeholder if it cannot be shown unchanged. */
function shellWord(text: string): string {
  return /^[\x20-\x26\x28-\x7e]{1,512}$/.test(text) ? `'${text}'` : 'ISSUER';
}
