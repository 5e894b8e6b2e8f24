import type { ClientRegistration } from '../../credential.ts';
import { InvalidResponseError } from '../../errors.ts';
import type { RequestOptions } from '../../http/request.ts';
import { quote } from '../../quote.ts';
import type { Secret } from '../../secret.ts';
import { jsonObject } from '../json-object.ts';
import { type TokenRequestOptions, type TokenResponse, type TokenServer, tokenRequest } from './token.ts';

/*
 * The grants without a user: the client authenticates itself, or sends a token that another party issued.
 */

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** draft-ietf-oauth-identity-assertion-authz-grant section 4.3; RFC 8693 section 3. */
const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const ID_JAG_TYPE = 'oauth-id-jag+jwt';

/** The resource and scopes that the tokens are for. Undefined members are not sent. */
export interface GrantTarget {
  /** RFC 8707. */
  readonly resourceParameter: string | undefined;
  /** Space-separated. */
  readonly scope: string | undefined;
}

/**
 * Requests tokens for the client itself (RFC 6749 section 4.4). Drops a refresh token, which the server should not
 * issue (section 4.4.3): the client can always repeat the request, and so has no refresh token to lose.
 *
 * @throws OAuthError, NetworkError, TimeoutError, InvalidResponseError
 */
export async function clientCredentials(
  server: TokenServer,
  client: ClientRegistration,
  { resourceParameter, scope }: GrantTarget,
  options: TokenRequestOptions = {},
): Promise<TokenResponse> {
  const parameters = { resource: resourceParameter, scope };
  const answer = await tokenRequest(server, client, 'client_credentials', parameters, options);
  return { ...answer, tokens: { ...answer.tokens, refreshToken: undefined } };
}

/**
 * Requests tokens with a JWT whose issuer the server trusts (RFC 7523 section 2.1).
 *
 * @throws OAuthError (`invalid_grant`: the JWT is expired, has another audience, or its issuer is not trusted),
 *   NetworkError, TimeoutError, InvalidResponseError
 */
export function jwtBearer(
  server: TokenServer,
  client: ClientRegistration,
  { assertion, resourceParameter, scope }: GrantTarget & { readonly assertion: Secret },
  options: TokenRequestOptions = {},
): Promise<TokenResponse> {
  return tokenRequest(server, client, JWT_BEARER, { assertion, resource: resourceParameter, scope }, options);
}

/**
 * Asks the enterprise's identity provider to vouch, at another server, for the user of an ID token: RFC 8693, as
 * profiled by draft-ietf-oauth-identity-assertion-authz-grant section 4.3.
 *
 * @param client the identity provider's client, which the ID token was issued to
 * @param grant `audience` is the issuer of the other server, byte for byte
 * @returns the ID-JAG. Holdfast checks its type; only the server that it is for verifies it.
 * @throws OAuthError, NetworkError, TimeoutError; InvalidResponseError when the response is not an ID-JAG
 */
export async function exchangeForIdJag(
  identityProvider: TokenServer,
  client: ClientRegistration,
  grant: GrantTarget & { readonly idToken: Secret; readonly audience: string },
  options: RequestOptions = {},
): Promise<Secret> {
  const { tokens, issuedTokenType } = await tokenRequest(
    identityProvider,
    client,
    TOKEN_EXCHANGE,
    {
      requested_token_type: ID_JAG,
      audience: grant.audience,
      resource: grant.resourceParameter,
      scope: grant.scope,
      subject_token: grant.idToken,
      subject_token_type: ID_TOKEN,
    },
    // An ID-JAG is not an access token, so its `token_type` means nothing (RFC 8693 section 2.2.1).
    { ...options, tokenTypes: ['N_A', 'Bearer'] },
  );
  if (issuedTokenType !== ID_JAG) {
    throw notVouched(
      identityProvider,
      `gave ${issuedTokenType === undefined ? 'a token of no type' : `a ${quote(issuedTokenType)}`} in place of a grant for the other server (${ID_JAG})`,
    );
  }
  const type = unverifiedJwt(tokens.accessToken)?.header['typ'];
  // The other server must get no other token of the identity provider: it could use one as its own.
  if (!isIdJag(type)) {
    throw notVouched(
      identityProvider,
      `gave what is no ID-JAG: ${typeof type === 'string' ? `a JWT of type ${quote(type, 64)}` : 'not a JWT that says its type'}`,
    );
  }
  return tokens.accessToken;
}

/** The content of a JWT, for code that cannot verify its signature and does not rely on it. */
export interface UnverifiedJwt {
  readonly header: Readonly<Record<string, unknown>>;
  /** Empty if the JWT is encrypted. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Reads a JWT in compact form (RFC 7519 section 3). Returns `undefined` if the text is not a JWT. */
export function unverifiedJwt(token: Secret): UnverifiedJwt | undefined {
  const parts = token.reveal().split('.');
  const isJwt = [3, 5].includes(parts.length) && parts.every((part) => /^[\w-]*$/.test(part));
  const objectIn = (part = '') => jsonObject(Buffer.from(part, 'base64url')).object;
  const header = isJwt ? objectIn(parts[0]) : undefined;
  return header && { header, claims: (parts.length === 3 && objectIn(parts[1])) || {} };
}

/** A media type is case-insensitive, and may omit `application/` (RFC 7515 section 4.1.9). */
function isIdJag(type: unknown): boolean {
  return typeof type === 'string' && type.toLowerCase().replace(/^application\//, '') === ID_JAG_TYPE;
}

function notVouched({ issuer }: TokenServer, why: string): InvalidResponseError {
  return new InvalidResponseError(`The token endpoint of the identity provider ${quote(issuer)} ${why}.`, {
    hint: 'It was passed on to nobody. Ask who runs the identity provider whether it gives out ID-JAGs (enterprise-managed authorization).',
  });
}
