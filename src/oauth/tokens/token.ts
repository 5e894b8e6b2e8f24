import type { AuthorizationServer, ClientRegistration, Tokens } from '../../credential.ts';
import { type HoldfastError, InvalidResponseError, OAuthError } from '../../errors.ts';
import { type HttpResponse, isSuccess, type RequestOptions } from '../../http/request.ts';
import { isToken, LONGEST_TOKEN_LIFE_S, scopesIn } from '../../oauth-syntax.ts';
import { quote } from '../../quote.ts';
import { Secret } from '../../secret.ts';
import { type Moment, thisMoment } from '../../system/clock.ts';
import { parseChallenges } from '../discovery/challenge.ts';
import { errorResponse } from '../error-response.ts';
import { AuthenticatedClient } from './client-authentication.ts';
import { DpopNonces, dpopProof } from './dpop.ts';

/** A token response (RFC 6749 section 5.1). */
export interface TokenResponse {
  readonly tokens: Tokens;
  /** The granted scope; absent when the server did not name it. */
  readonly scope: string | undefined;
  /** The type of the token that an exchange issued, a URI (RFC 8693 section 2.2.1). */
  readonly issuedTokenType: string | undefined;
}

/**
 * A successful refresh response with a usable refresh token but no usable access token. A server that rotates refresh
 * tokens accepts only this refresh token from now on.
 */
export class IncompleteTokensError extends InvalidResponseError {
  readonly refreshToken: Secret;

  constructor({ message, hint }: InvalidResponseError, refreshToken: Secret) {
    super(message, hint === undefined ? {} : { hint });
    this.refreshToken = refreshToken;
  }
}

export interface TokenServer extends Pick<AuthorizationServer, 'issuer' | 'tokenEndpoint' | 'reach'> {
  /** `token_endpoint_auth_signing_alg_values_supported` of RFC 8414 section 2, where known. */
  readonly signingAlgorithms?: readonly string[] | undefined;
}

/** `timeoutMs` applies to one request; with a DPoP key, Holdfast may send two. */
export interface TokenRequestOptions extends RequestOptions {
  /** Requests tokens that are bound to this key: PKCS #8 in PEM, EC P-256 (RFC 9449 section 5). */
  readonly dpopKey?: Secret | undefined;
  /**
   * The accepted values of `token_type`, case-insensitive; `Tokens.tokenType` uses the spelling given here. Default:
   * `Bearer`, or `DPoP` with a key. A token exchange may yield a token that is not an access token, with type `N_A`
   * (RFC 8693 section 2.2.1).
   */
  readonly tokenTypes?: readonly string[] | undefined;
  /** The type of a response without `token_type`. By default such a response is refused (RFC 6749 section 5.1). */
  readonly typeIfAbsent?: string | undefined;
}

/** A token type identifier is a URI (RFC 8693 section 3). */
const TOKEN_TYPE_URI = /^[a-z][a-z0-9+.-]{0,31}:[\x21-\x7e]{1,256}$/i;

/** Nonces of all token endpoints that this process has sent proofs to. */
const nonces = new DpopNonces();

/**
 * Exchanges an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5, RFC 8707 section 2.2).
 *
 * @param grant without `resourceParameter`, no `resource` is sent
 * @throws OAuthError for an error of RFC 6749 section 5.2; NetworkError (5xx, 429), TimeoutError, InvalidResponseError
 */
export function exchangeCode(
  server: TokenServer,
  client: ClientRegistration,
  grant: { code: string; codeVerifier: string; redirectUri: string; resourceParameter: string | undefined },
  options: TokenRequestOptions = {},
): Promise<TokenResponse> {
  return tokenRequest(
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
 * Sends a refresh token (RFC 6749 section 6), with `resource`, which MCP requires in every token request.
 *
 * Without a DPoP key, a response without `token_type` means `Bearer`: some servers name the type at the login and omit
 * it afterwards.
 *
 * @param grant without `resourceParameter`, no `resource` is sent
 * @throws OAuthError (`invalid_grant`: the refresh token is used, revoked or expired), NetworkError, TimeoutError,
 *   InvalidResponseError
 * @throws IncompleteTokensError for a successful response with a refresh token and no usable access token
 */
export async function refreshTokens(
  server: TokenServer,
  client: ClientRegistration,
  grant: { refreshToken: Secret; resourceParameter: string | undefined },
  options: TokenRequestOptions = {},
): Promise<TokenResponse> {
  return tokenRequest(
    server,
    client,
    'refresh_token',
    { refresh_token: grant.refreshToken, resource: grant.resourceParameter },
    // A server that has stopped binding tokens still sends the next refresh token, which must not be lost.
    options.dpopKey === undefined
      ? { typeIfAbsent: 'Bearer', ...options }
      : { tokenTypes: ['DPoP', 'Bearer'], ...options },
  );
}

/**
 * Sends one token request of any grant, with the client's own authentication. No error message repeats a `Secret` among
 * the parameters (a code, a refresh token, an assertion, a subject token). Undefined parameters are not sent.
 *
 * @throws OAuthError, NetworkError, TimeoutError, InvalidResponseError; InvalidArgumentError for an unusable key,
 *   before anything is sent
 */
export async function tokenRequest(
  server: TokenServer,
  registration: ClientRegistration,
  grantType: string,
  parameters: Readonly<Record<string, string | Secret | undefined>>,
  options: TokenRequestOptions = {},
): Promise<TokenResponse> {
  const {
    dpopKey,
    tokenTypes = [dpopKey === undefined ? 'Bearer' : 'DPoP'],
    typeIfAbsent,
    ...limits
  } = options;
  const what = `The token endpoint of ${quote(server.issuer)}`;
  const client = new AuthenticatedClient(registration, server);
  const reach = server.reach ?? limits.reach;
  const form = new URLSearchParams({ grant_type: grantType });
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) form.set(name, value instanceof Secret ? value.reveal() : value);
  }
  for (let repeated = false; ; repeated = true) {
    // Date a token by its request, so that it never seems younger than it is. With `beforeSend`, the date is that of
    // the first byte: a process that was suspended while it connected would otherwise take a new token for an old one.
    let obtained = thisMoment();
    const { beforeSend } = limits;
    const dated = beforeSend && {
      beforeSend: () => {
        beforeSend();
        obtained = thisMoment();
      },
    };
    const proof = dpopKey === undefined ? undefined : proofFor(server.tokenEndpoint, dpopKey);
    const request = { ...limits, ...dated, reach, what, dpopProof: proof };
    let { response, answer } = await client.post(server.tokenEndpoint, form, request);
    if (dpopKey !== undefined) {
      answer = withChallenge(response, answer);
      const nonce = nonces.learn(server.tokenEndpoint, response.headers);
      // RFC 9449 section 8. A server that asks for a nonce has checked only the proof: the code or refresh token is
      // unused, so sending it again is safe. Retry once only: a server that asks for a second nonce will never accept
      // one.
      if (nonce !== undefined && !repeated && wantsNonce(response, answer)) continue;
    }
    // GitHub sends errors with status 200. Ignore an error beside the next refresh token: that token must not be lost.
    const carriesNext = grantType === 'refresh_token' && isToken(answer?.['refresh_token']);
    if (!isSuccess(response) || (typeof answer?.['error'] === 'string' && !carriesNext)) {
      const sent = Object.values(parameters).filter((value) => value instanceof Secret);
      throw explained(errorResponse(what, response, answer, [...client.proofs, ...sent]), registration);
    }
    if (answer === undefined) throw unusable(what, 'did not answer with a JSON object');
    const typed =
      typeIfAbsent === undefined
        ? answer
        : { token_type: typeIfAbsent, ...withoutNull(answer, 'token_type') };
    return readAnswer(typed, obtained, tokenTypes, what, grantType === 'refresh_token');
  }
}

function proofFor(tokenEndpoint: string, key: Secret): string {
  return dpopProof(key, { method: 'POST', url: tokenEndpoint, nonce: nonces.of(tokenEndpoint) });
}

function wantsNonce({ status }: HttpResponse, answer: Answer | undefined): boolean {
  return (status === 400 || status === 401) && answer?.['error'] === 'use_dpop_nonce';
}

/** Reads the error of a challenge: some servers refuse a proof as a resource server would (RFC 9449 section 7.1). */
function withChallenge({ status, headers }: HttpResponse, answer: Answer | undefined): Answer | undefined {
  if (status !== 401 || answer?.['error'] !== undefined) return answer;
  const challenges = parseChallenges(headers.get('www-authenticate') ?? '');
  const dpop = challenges.find(({ scheme, parameters }) => scheme === 'dpop' && parameters.has('error'));
  return dpop === undefined ? answer : Object.fromEntries(dpop.parameters);
}

/** Adds a hint at a cause on this machine, which the server cannot know. */
function explained(error: HoldfastError, { authMethod }: ClientRegistration): HoldfastError {
  if (!(error instanceof OAuthError)) return error;
  const clock = 'that the clock of this machine is right';
  const hint =
    error.error === 'invalid_dpop_proof'
      ? `A DPoP proof carries the time: check ${clock}, then try again.`
      : error.error === 'invalid_client' && authMethod === 'private_key_jwt'
        ? `Check that the server knows the client by this private key, and ${clock}.`
        : undefined;
  return hint === undefined ? error : new OAuthError(error.message, { error: error.error, hint });
}

/*
 * Responses are read leniently. Other libraries refuse good tokens because of a `null` member, an unrequested ID token
 * or an unreadable lifetime. A refused refresh response is a lost login.
 */

type Answer = Readonly<Record<string, unknown>>;

/** Drops the member if it is `null`, which means absent. */
function withoutNull(answer: Answer, name: string): Answer {
  const { [name]: value, ...rest } = answer;
  return value === null ? rest : answer;
}

/** Like `read`, but saves the next refresh token of a refresh response even if the rest is wrong. */
function readAnswer(
  answer: Answer,
  obtained: Moment,
  tokenTypes: readonly string[],
  what: string,
  isRefresh: boolean,
): TokenResponse {
  try {
    return read(answer, obtained, tokenTypes, what);
  } catch (error) {
    const next = answer['refresh_token'];
    if (!isRefresh || !(error instanceof InvalidResponseError) || !isToken(next)) throw error;
    throw new IncompleteTokensError(error, new Secret(next));
  }
}

/** Reads a response of RFC 6749 section 5.1. An unusable optional member counts as absent. */
function read(answer: Answer, obtained: Moment, tokenTypes: readonly string[], what: string): TokenResponse {
  const tokenType = tokenTypeOf(answer['token_type'], tokenTypes, what);
  const accessToken = token(answer, 'access_token', what);
  if (accessToken === undefined) throw unusable(what, 'gave no access_token');
  const lifeMs = lifetimeMs(answer['expires_in']);
  const { scope, issued_token_type: issued } = answer;
  return {
    tokens: {
      accessToken,
      tokenType,
      refreshToken: token(answer, 'refresh_token', what),
      obtainedAt: obtained.wall,
      obtainedBoot: obtained.boot,
      expiresAt: lifeMs === undefined ? undefined : obtained.wall + lifeMs,
    },
    scope: typeof scope === 'string' ? scopesIn(scope).join(' ') : undefined,
    issuedTokenType: typeof issued === 'string' && TOKEN_TYPE_URI.test(issued) ? issued : undefined,
  };
}

/** RFC 6749 section 7.1: a client must not use a token of a type that it does not understand. */
function tokenTypeOf(type: unknown, good: readonly string[], what: string): string {
  const name = typeof type === 'string' ? type.toLowerCase() : undefined;
  const known = good.find((one) => one.toLowerCase() === name);
  if (known !== undefined) return known;
  // Show only a short word: the value may be anything, even a token in the wrong member.
  const word = typeof type === 'string' && /^[\w-]{1,16}$/.test(type);
  const named = word ? `of type ${quote(type)}` : type === undefined ? 'without a type' : 'of no known type';
  if (!good.includes('DPoP')) throw unusable(what, `gave a token ${named}, not of type ${good.join(' or ')}`);
  // RFC 9449 section 5: a server without DPoP ignores the proof, and its tokens are usable by anyone who has them.
  throw new InvalidResponseError(`${what} gave a token ${named}, where one bound to a key was asked for.`, {
    hint: 'The server may not know DPoP: log in again without it, or tell who runs the server.',
  });
}

function token(answer: Answer, name: string, what: string): Secret | undefined {
  const value = answer[name] ?? '';
  if (value === '') return undefined;
  if (!isToken(value)) throw unusable(what, `gave as ${name} what can be no token`);
  return new Secret(value);
}

/** Reads seconds, which many servers write as a string. Ignores non-positive lifetimes. */
function lifetimeMs(expiresIn: unknown): number | undefined {
  const seconds = typeof expiresIn === 'string' && expiresIn !== '' ? Number(expiresIn) : expiresIn;
  if (typeof seconds !== 'number' || !(seconds > 0)) return undefined;
  return Math.round(Math.min(seconds, LONGEST_TOKEN_LIFE_S) * 1000);
}

function unusable(what: string, why: string): InvalidResponseError {
  return new InvalidResponseError(`${what} ${why}.`, { hint: 'Tell who runs the server.' });
}
