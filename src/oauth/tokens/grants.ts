import type { ClientRegistration } from '../../credential.ts';
import { InvalidResponseError } from '../../errors.ts';
import type { RequestOptions } from '../../http/request.ts';
import { quote } from '../../quote.ts';
import type { Secret } from '../../secret.ts';
import { jsonObject } from '../json-object.ts';
import { type TokenRequestOptions, type TokenResponse, type TokenServer, tokenRequest } from './token.ts';

/* The grants that need no person: the client itself, or a token of another's, is what is presented. */

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** draft-ietf-oauth-identity-assertion-authz-grant section 4.3; RFC 8693 section 3. */
const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const ID_JAG_TYPE = 'oauth-id-jag+jwt';

/** What the tokens are to be good for; what is undefined is not sent. */
export interface GrantTarget {
  /** RFC 8707. */
  readonly resourceParameter: string | undefined;
  /** Space-separated. */
  readonly scope: string | undefined;
}

/**
 * The client itself is the grant (RFC 6749 section 4.4). A refresh token, which the server should not give (section 4.4.3), is
 * passed over: the client can always ask again, and has nothing then that could be lost.
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
 * A JWT that the server trusts the issuer of is the grant (RFC 7523 section 2.1).
 *
 * @throws OAuthError (`invalid_grant`: it is expired, for another audience, or of an issuer that is not trusted), NetworkError,
 *   TimeoutError, InvalidResponseError
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
 * Asks the enterprise's identity provider to vouch at another server for the person of an ID token: RFC 8693 as
 * draft-ietf-oauth-identity-assertion-authz-grant section 4.3 profiles it.
 *
 * @param client the one that the identity provider knows, and gave the ID token to
 * @param grant `audience` is the issuer of the other server, byte for byte
 * @returns the ID-JAG. That it is one is checked; whether it is genuine is for the server that it is meant for.
 * @throws OAuthError, NetworkError, TimeoutError; InvalidResponseError for what is no ID-JAG
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
    // It is no access token, so its `token_type` means nothing (RFC 8693 section 2.2.1).
    { ...options, tokenTypes: ['N_A', 'Bearer'] },
  );
  if (issuedTokenType !== ID_JAG) {
    throw notVouched(
      identityProvider,
      `gave ${issuedTokenType === undefined ? 'a token of no type' : `a ${quote(issuedTokenType)}`} in place of a grant for the other server (${ID_JAG})`,
    );
  }
  const type = unverifiedJwt(tokens.accessToken)?.header['typ'];
  // Nothing else of the identity provider's may reach the other server, who could use it as its own.
  if (!isIdJag(type)) {
    throw notVouched(
      identityProvider,
      `gave what is no ID-JAG: ${typeof type === 'string' ? `a JWT of type ${quote(type, 64)}` : 'not a JWT that says its type'}`,
    );
  }
  return tokens.accessToken;
}

/** What a JWT says, for whoever cannot check its signature and does not rely on it. */
export interface UnverifiedJwt {
  readonly header: Readonly<Record<string, unknown>>;
  /** Empty for one that is encrypted. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Reads a JWT in compact form (RFC 7519 section 3); `undefined` for what is none. */
export function unverifiedJwt(token: Secret): UnverifiedJwt | undefined {
  const parts = token.reveal().split('.');
  const isJwt = [3, 5].includes(parts.length) && parts.every((part) => /^[\w-]*$/.test(part));
  const objectIn = (part = '') => jsonObject(Buffer.from(part, 'base64url')).object;
  const header = isJwt ? objectIn(parts[0]) : undefined;
  return header && { header, claims: (parts.length === 3 && objectIn(parts[1])) || {} };
}

/** A media type: its case says nothing, and `application/` may be left out (RFC 7515 section 4.1.9). */
function isIdJag(type: unknown): boolean {
  return typeof type === 'string' && type.toLowerCase().replace(/^application\//, '') === ID_JAG_TYPE;
}

function notVouched({ issuer }: TokenServer, why: string): InvalidResponseError {
  return new InvalidResponseError(`The token endpoint of the identity provider ${quote(issuer)} ${why}.`, {
    hint: 'It was passed on to nobody. Ask who runs the identity provider whether it gives out ID-JAGs (enterprise-managed authorization).',
  });
}
