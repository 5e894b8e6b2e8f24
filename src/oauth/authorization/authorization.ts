import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { ClientRegistration } from '../../credential.ts';
import { CallbackRejectedError, LoginDeniedError, ServerUnsupportedError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { Secret } from '../../secret.ts';
import type { Discovery } from '../discovery/discovery.ts';
import { OFFLINE_ACCESS, type ScopeOptions, scopesToAskFor } from '../discovery/scope-choice.ts';
import { codeWithoutSecrets, withoutSecrets } from '../error-response.ts';
import { oauthError } from '../protocol-error.ts';

/** One authorization request, and the values that check its response. It holds the code verifier: never print it. */
export interface AuthorizationRequest {
  /** The URL that the user opens in a browser. */
  readonly url: string;
  readonly state: string;
  readonly codeVerifier: string;
  /** Recorded before the redirect, to detect a mix-up attack (RFC 9207 section 2.4). */
  readonly issuer: string;
  readonly issParameterSupported: boolean;
  /** Space-separated; absent when the client requested no scope. */
  readonly requestedScope: string | undefined;
}

/** Parameters that a response may hold only once (RFC 6749 section 3.1). */
const SINGLE = ['state', 'code', 'iss', 'error', 'error_description'];

export interface AuthorizationOptions extends ScopeOptions {
  /** Thumbprint of the key that the tokens will be bound to (RFC 9449 section 10). */
  readonly dpopThumbprint?: string | undefined;
}

/**
 * Builds an authorization request with PKCE (S256), `state` and `resource` (RFC 6749 section 4.1.1, RFC 7636, RFC
 * 8707).
 *
 * @throws InvalidArgumentError when a chosen scope is not valid
 * @throws InvalidResponseError when the server suggests more scopes than fit a URL
 */
export function createAuthorizationRequest(
  discovery: Discovery,
  client: ClientRegistration,
  redirectUri: string,
  options: AuthorizationOptions = {},
): AuthorizationRequest {
  const { server, resourceParameter } = discovery;
  if (server.authorizationEndpoint === undefined) {
    throw new ServerUnsupportedError(`${quote(server.issuer)} has no authorization endpoint.`, {
      hint: 'Nobody can log in there with a browser.',
    });
  }
  const codeVerifier = randomValue();
  const state = randomValue();
  const scopes = scopesToAskFor(discovery, options);
  const requestedScope = scopes.length === 0 ? undefined : scopes.join(' ');
  const url = new URL(server.authorizationEndpoint);
  const parameters = {
    response_type: 'code',
    client_id: client.clientId,
    redirect_uri: redirectUri,
    state,
    code_challenge: createHash('sha256').update(codeVerifier).digest('base64url'),
    code_challenge_method: 'S256',
    resource: resourceParameter,
    scope: requestedScope,
    dpop_jkt: options.dpopThumbprint,
    // OpenID Connect Core section 11: the server grants offline access only when the request asks for consent.
    prompt: scopes.includes(OFFLINE_ACCESS) ? 'consent' : undefined,
  };
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  return {
    url: url.href,
    state,
    codeVerifier,
    issuer: server.issuer,
    issParameterSupported: server.issParameterSupported,
    requestedScope,
  };
}

/** Tells whether a redirect answers this request. Compares `state` in constant time. */
export function belongsTo(request: AuthorizationRequest, parameters: URLSearchParams): boolean {
  return sameText(parameters.get('state') ?? '', request.state);
}

/**
 * Checks the response of the authorization server and returns its code. Checks `state` and `iss` first, for error
 * responses too: a response that fails them is neither shown nor acted on (RFC 9207 section 2.4).
 *
 * @throws CallbackRejectedError when the response does not belong to the request
 * @throws LoginDeniedError, OAuthError for an error response that belongs to the request
 */
export function readAuthorizationResponse(
  request: AuthorizationRequest,
  parameters: URLSearchParams,
): string {
  if (SINGLE.some((name) => parameters.getAll(name).length > 1)) throw rejected('names a parameter twice');
  if (!belongsTo(request, parameters)) throw rejected('has another state');
  const iss = parameters.get('iss');
  if (iss === null ? request.issParameterSupported : iss !== request.issuer) {
    throw rejected(
      iss === null
        ? 'lacks the issuer that its server always sends'
        : `comes from ${quote(iss)}, another issuer`,
    );
  }
  const error = parameters.get('error');
  if (error !== null) {
    // The client did not ask for a code beside an error, but such a code must stay secret too.
    const hidden = [new Secret(parameters.get('code') ?? '')];
    const description = withoutSecrets(hidden, parameters.get('error_description') ?? '');
    if (error === 'access_denied') {
      throw new LoginDeniedError(
        `${quote(request.issuer)} says that access was denied${description ? `: ${quote(description)}` : ''}.`,
        { hint: 'If that was not meant, log in again and allow it.' },
      );
    }
    throw oauthError(
      `The authorization endpoint of ${quote(request.issuer)}`,
      codeWithoutSecrets(hidden, error),
      description,
    );
  }
  const code = parameters.get('code');
  if (!code) throw rejected('holds neither a code nor an error');
  return code;
}

/** 32 random bytes: a code verifier of 43 characters (RFC 7636 section 4.1), or an unguessable `state`. */
function randomValue(): string {
  return randomBytes(32).toString('base64url');
}

function sameText(a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)];
  return one.length === other.length && timingSafeEqual(one, other);
}

function rejected(why: string): CallbackRejectedError {
  return new CallbackRejectedError(`The redirect back to this machine ${why}: it was not used.`, {
    hint: 'Log in again, and use the newest tab. If it happens again, something is interfering with the login.',
  });
}
