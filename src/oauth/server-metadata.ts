import * as v from 'valibot';
import {
  InvalidResponseError,
  IssuerMismatchError,
  ServerUnsupportedError,
  UnsafeUrlError,
} from '../errors.ts';
import { quote } from '../quote.ts';
import type { RequestOptions } from './http.ts';
import { metadataDocument, Scopes } from './metadata-document.ts';
import { checkPublishedUrl } from './safe-url.ts';

/** What a login needs of the authorization server's metadata (RFC 8414 section 2). */
export interface ServerMetadata {
  readonly issuer: string;
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly registrationEndpoint: string | undefined;
  readonly revocationEndpoint: string | undefined;
  readonly scopesSupported: readonly string[] | undefined;
  readonly tokenEndpointAuthMethods: readonly string[] | undefined;
  /** RFC 9207 section 3. */
  readonly issParameterSupported: boolean;
}

const AuthorizationServerMetadata = v.object({
  issuer: v.string(),
  authorization_endpoint: v.optional(v.string()),
  token_endpoint: v.optional(v.string()),
  registration_endpoint: v.optional(v.string()),
  revocation_endpoint: v.optional(v.string()),
  scopes_supported: Scopes,
  token_endpoint_auth_methods_supported: v.optional(v.array(v.string())),
  code_challenge_methods_supported: v.optional(v.array(v.string())),
  authorization_response_iss_parameter_supported: v.optional(v.boolean()),
});

/**
 * Characters that no authorization endpoint needs and that a shell, or a careless opener, would act on. `&`, `?`, `#`
 * and `%` belong to URLs; nothing of ours gives a URL to a shell either.
 */
const SUSPICIOUS = /[\s"'`$()<>|\\^{};]|\p{Cc}/u;

/**
 * The metadata that stands for an issuer, from the first place that has a document (RFC 8414, OpenID Connect Discovery).
 *
 * @param resource the MCP server that named the issuer
 * @throws IssuerMismatchError, UnsafeUrlError, InvalidResponseError, ServerUnsupportedError for what it publishes
 */
export async function serverMetadata(
  issuer: string,
  resource: URL,
  options: RequestOptions,
): Promise<ServerMetadata | undefined> {
  const url = checkPublishedUrl(issuer, 'issuer', resource);
  if (/[?#]/.test(issuer)) {
    throw new UnsafeUrlError(`The issuer ${quote(issuer)} has a query or a fragment (RFC 8414 section 2).`, {
      hint: 'It was not asked. Tell who runs the MCP server.',
    });
  }
  for (const place of metadataPlaces(url)) {
    const metadata = await metadataDocument(place, AuthorizationServerMetadata, options);
    if (metadata !== undefined) return checkedMetadata(metadata, issuer, place, resource);
  }
  return undefined;
}

/** RFC 8414 section 3.1 inserts the suffix before the path; OpenID Connect Discovery also appends it. */
function metadataPlaces({ origin, pathname }: URL): string[] {
  const path = pathname.replace(/\/$/, '');
  return path === ''
    ? [`${origin}/.well-known/oauth-authorization-server`, `${origin}/.well-known/openid-configuration`]
    : [
        `${origin}/.well-known/oauth-authorization-server${path}`,
        `${origin}/.well-known/openid-configuration${path}`,
        `${origin}${path}/.well-known/openid-configuration`,
      ];
}

function checkedMetadata(
  metadata: v.InferOutput<typeof AuthorizationServerMetadata>,
  issuer: string,
  place: string,
  resource: URL,
): ServerMetadata {
  if (metadata.issuer !== issuer) {
    throw new IssuerMismatchError(
      `The authorization server at ${quote(place)} calls itself ${quote(metadata.issuer)}, not ${quote(issuer)}.`,
      {
        hint: 'One server may be posing as another (RFC 8414 section 3.3), so nothing was sent to it. Tell who runs the MCP server.',
      },
    );
  }
  const { authorization_endpoint: authorization, token_endpoint: token } = metadata;
  if (authorization === undefined || token === undefined) {
    throw new InvalidResponseError(
      `The metadata of ${quote(issuer)} names no ${authorization === undefined ? 'authorization' : 'token'} endpoint.`,
      { hint: 'Tell who runs the authorization server.' },
    );
  }
  if (metadata.code_challenge_methods_supported?.includes('S256') !== true) {
    throw new ServerUnsupportedError(`${quote(issuer)} does not say that it supports PKCE with S256.`, {
      hint: 'MCP clients must refuse such a server (RFC 7636, MCP authorization). Tell who runs it.',
    });
  }
  const optional = (url: string | undefined, name: string) => {
    if (url !== undefined) checkPublishedUrl(url, name, resource);
    return url;
  };
  checkPublishedUrl(authorization, 'authorization endpoint', resource);
  if (SUSPICIOUS.test(authorization)) {
    throw new UnsafeUrlError(
      `The authorization endpoint of ${quote(issuer)} holds characters that a shell would act on: ${quote(authorization)}.`,
      { hint: 'It was not opened. Tell who runs the server.' },
    );
  }
  checkPublishedUrl(token, 'token endpoint', resource);
  return {
    issuer,
    authorizationEndpoint: authorization,
    tokenEndpoint: token,
    registrationEndpoint: optional(metadata.registration_endpoint, 'registration endpoint'),
    revocationEndpoint: optional(metadata.revocation_endpoint, 'revocation endpoint'),
    scopesSupported: metadata.scopes_supported,
    tokenEndpointAuthMethods: metadata.token_endpoint_auth_methods_supported,
    issParameterSupported: metadata.authorization_response_iss_parameter_supported ?? false,
  };
}
