import * as oauth from 'oauth4webapi';
import type { AuthorizationServer, ClientRegistration, Tokens } from '../credential.ts';
import { InvalidResponseError } from '../errors.ts';
import { quote } from '../quote.ts';
import { Secret } from '../secret.ts';
import { clientOf, through } from './client-authentication.ts';
import type { RequestOptions } from './http.ts';
import { protocolError } from './protocol-error.ts';

/** What the token endpoint gave (RFC 6749 section 5.1). */
export interface TokenResponse {
  readonly tokens: Tokens;
  /** As granted; absent when the server did not say. */
  readonly scope: string | undefined;
}

export type TokenServer = Pick<AuthorizationServer, 'issuer' | 'tokenEndpoint'>;

/** A token is a line of visible ASCII (RFC 6750 section 2.1); longer than this fits no request header. */
const TOKEN = /^[\x21-\x7e]{1,65536}$/;

/** Ten years: a lifetime beyond is a mistake, and its date might not be a date. */
const LONGEST_LIFE_S = 315_360_000;

/**
 * Exchanges an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5, RFC 8707 section 2.2).
 *
 * @throws OAuthError for an error of RFC 6749 section 5.2; NetworkError (5xx, 429), TimeoutError, InvalidResponseError
 */
export function exchangeCode(
  server: TokenServer,
  client: ClientRegistration,
  grant: { code: string; codeVerifier: string; redirectUri: string; resourceParameter: string },
  options: RequestOptions = {},
): Promise<TokenResponse> {
  return request(
    server,
    client,
    'authorization_code',
    {
      code: grant.code,
      code_verifier: grant.codeVerifier,
      redirect_uri: grant.redirectUri,
      resource: grant.resourceParameter,
    },
    options,
  );
}

/**
 * Presents a refresh token (RFC 6749 section 6). With `resource`, as MCP requires of every token request.
 *
 * @throws OAuthError (`invalid_grant`: the refresh token is used up, revoked or expired), NetworkError, TimeoutError,
 *   InvalidResponseError
 */
export function refreshTokens(
  server: TokenServer,
  client: ClientRegistration,
  grant: { refreshToken: Secret; resourceParameter: string },
  options: RequestOptions = {},
): Promise<TokenResponse> {
  return request(
    server,
    client,
    'refresh_token',
    { refresh_token: grant.refreshToken.reveal(), resource: grant.resourceParameter },
    options,
  );
}

async function request(
  server: TokenServer,
  registration: ClientRegistration,
  grantType: string,
  parameters: Record<string, string>,
  options: RequestOptions,
): Promise<TokenResponse> {
  const what = `The token endpoint of ${quote(server.issuer)}`;
  const as = { issuer: server.issuer, token_endpoint: server.tokenEndpoint };
  const { client, authentication } = clientOf(registration);
  // Counted from the request, not from the answer: the token is never taken for younger than it is.
  const obtainedAt = Date.now();
  let answer: oauth.TokenEndpointResponse;
  try {
    const response = await oauth.genericTokenEndpointRequest(
      as,
      client,
      authentication,
      grantType,
      parameters,
      through(options, what, withoutTheUseless),
    );
    answer = await oauth.processGenericTokenEndpointResponse(as, client, response);
  } catch (error) {
    throw protocolError(error, what);
  }
  return read(answer, obtainedAt, what);
}

function read(answer: oauth.TokenEndpointResponse, obtainedAt: number, what: string): TokenResponse {
  const { access_token, refresh_token, expires_in, scope, token_type } = answer;
  if (token_type !== 'bearer') {
    throw new InvalidResponseError(
      `${what} gave a token of type ${quote(token_type)}; Holdfast uses bearer tokens.`,
    );
  }
  for (const [name, token] of [
    ['access_token', access_token],
    ['refresh_token', refresh_token],
  ] as const) {
    if (token !== undefined && !TOKEN.test(token)) {
      throw new InvalidResponseError(`${what} gave a ${name} with characters that no token may have.`);
    }
  }
  const life = expires_in === undefined ? undefined : Math.min(expires_in, LONGEST_LIFE_S);
  return {
    tokens: {
      accessToken: new Secret(access_token),
      tokenType: 'Bearer',
      refreshToken: refresh_token === undefined ? undefined : new Secret(refresh_token),
      obtainedAt,
      expiresAt: life === undefined ? undefined : obtainedAt + Math.round(life * 1000),
    },
    scope,
  };
}

/**
 * Leaves out of the answer what would only make the processing refuse good tokens: the ID token (Holdfast is no OpenID
 * Connect client and uses none), members that are null, and a lifetime or scope that is not one. Absent is a case that
 * RFC 6749 knows.
 */
function withoutTheUseless(body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(body));
  } catch {
    return body;
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return body;
  const kept = Object.entries(json).filter(([name, value]) => {
    if (name === 'id_token' || value === null) return false;
    if (name === 'expires_in') return Number.parseFloat(value) >= 0;
    return name !== 'scope' || typeof value === 'string';
  });
  return new TextEncoder().encode(JSON.stringify(Object.fromEntries(kept)));
}
