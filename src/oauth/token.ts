import * as oauth from 'oauth4webapi';
import type { AuthorizationServer, ClientRegistration, Tokens } from '../credential.ts';
import { InvalidResponseError } from '../errors.ts';
import { quote } from '../quote.ts';
import { Secret } from '../secret.ts';
import { type Moment, thisMoment } from '../system/clock.ts';
import { clientOf, through } from './client-authentication.ts';
import { errorResponse } from './error-response.ts';
import type { RequestOptions } from './http.ts';
import { jsonObject } from './json-object.ts';
import { protocolError } from './protocol-error.ts';
import { scopesIn } from './scope.ts';

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
      code: new Secret(grant.code),
      code_verifier: new Secret(grant.codeVerifier),
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
    { refresh_token: grant.refreshToken, resource: grant.resourceParameter },
    options,
  );
}

async function request(
  server: TokenServer,
  registration: ClientRegistration,
  grantType: string,
  parameters: Readonly<Record<string, string | Secret>>,
  options: RequestOptions,
): Promise<TokenResponse> {
  const what = `The token endpoint of ${quote(server.issuer)}`;
  const as = { issuer: server.issuer, token_endpoint: server.tokenEndpoint };
  const { client, authentication } = clientOf(registration);
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    form.set(name, value instanceof Secret ? value.reveal() : value);
  }
  // Counted from the request, not from the answer: the token is never taken for younger than it is.
  const obtained = thisMoment();
  let response: Response;
  try {
    response = await oauth.genericTokenEndpointRequest(
      as,
      client,
      authentication,
      grantType,
      form,
      through(options, what),
    );
  } catch (error) {
    throw protocolError(error, what);
  }
  const { object: answer } = jsonObject(new Uint8Array(await response.arrayBuffer()));
  if (!response.ok || typeof answer?.['error'] === 'string') {
    const sent = Object.values(parameters).filter((value) => value instanceof Secret);
    throw errorResponse(what, response, answer, [registration.clientSecret, ...sent]);
  }
  if (answer === undefined) throw unusable(what, 'did not answer with a JSON object');
  return read(answer, obtained, what);
}

/*
 * `oauth4webapi` would check the answer too, and refuses good tokens for a `null` beside them, for an ID token that
 * nobody asked for, for a lifetime that it cannot read; and takes an error for no error where the server sent it with
 * status 200 (GitHub) or as text. So the answer is read here.
 */

type Answer = Readonly<Record<string, unknown>>;

/** RFC 6749 section 5.1. An optional member of which no use could be made counts as absent. */
function read(answer: Answer, obtained: Moment, what: string): TokenResponse {
  const type = answer['token_type'];
  if (typeof type !== 'string' || type.toLowerCase() !== 'bearer') {
    const named = typeof type === 'string' ? `of type ${quote(type, 32)}` : 'without a type';
    throw unusable(what, `gave a token ${named}; Holdfast uses bearer tokens`);
  }
  const accessToken = token(answer, 'access_token', what);
  if (accessToken === undefined) throw unusable(what, 'gave no access_token');
  const lifeMs = lifetimeMs(answer['expires_in']);
  const scope = answer['scope'];
  return {
    tokens: {
      accessToken,
      tokenType: 'Bearer',
      refreshToken: token(answer, 'refresh_token', what),
      obtainedAt: obtained.wall,
      obtainedBoot: obtained.boot,
      expiresAt: lifeMs === undefined ? undefined : obtained.wall + lifeMs,
    },
    scope: typeof scope === 'string' ? scopesIn(scope).join(' ') : undefined,
  };
}

function token(answer: Answer, name: string, what: string): Secret | undefined {
  const value = answer[name] ?? '';
  if (value === '') return undefined;
  if (typeof value !== 'string' || !TOKEN.test(value)) {
    throw unusable(what, `gave as ${name} what can be no token`);
  }
  return new Secret(value);
}

/** Seconds, which many servers write as a string. A life of none or less is not one. */
function lifetimeMs(expiresIn: unknown): number | undefined {
  const seconds = typeof expiresIn === 'string' && expiresIn !== '' ? Number(expiresIn) : expiresIn;
  if (typeof seconds !== 'number' || !(seconds > 0)) return undefined;
  return Math.round(Math.min(seconds, LONGEST_LIFE_S) * 1000);
}

function unusable(what: string, why: string): InvalidResponseError {
  return new InvalidResponseError(`${what} ${why}.`, { hint: 'Tell who runs the server.' });
}
