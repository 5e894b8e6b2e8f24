import { NetworkError, OAuthError } from '../errors.ts';
import { type HttpResponse, retryAfterMs } from '../http/request.ts';
import { quote } from '../quote.ts';

/** The `error` codes of RFC 6749 section 5.2 consist of these characters. */
const ERROR_CODE = /^[\x20-\x21\x23-\x5b\x5d-\x7e]{1,64}$/;

/** 502 Bad Gateway and 504 Gateway Timeout (RFC 9110 sections 15.6.3 and 15.6.5). */
const GATEWAY_GAVE_UP = new Set([502, 504]);

/** Time limit for a server behind a gateway, in milliseconds. It equals the usual time limit of gateways. */
const IN_DOUBT_MS = 60_000;

/**
 * The codes of the standards (RFC 6749, 7009, 7591, 8628, 8707, 9449 and OpenID Connect). Programs branch on them. They
 * are public, even if a secret happens to be spelled like one.
 */
const STANDARD_ERRORS = new Set([
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
  'access_denied',
  'unsupported_response_type',
  'server_error',
  'temporarily_unavailable',
  'unsupported_token_type',
  'invalid_redirect_uri',
  'invalid_client_metadata',
  'invalid_software_statement',
  'unapproved_software_statement',
  'authorization_pending',
  'slow_down',
  'expired_token',
  'invalid_target',
  'invalid_dpop_proof',
  'use_dpop_nonce',
  'invalid_token',
  'insufficient_scope',
  'interaction_required',
  'login_required',
  'account_selection_required',
  'consent_required',
]);

/** Tells whether a standard defines the error code. */
export function isStandardError(code: string): boolean {
  return STANDARD_ERRORS.has(code);
}

/** Builds the error for an error code of RFC 6749 section 4.1.2.1 or 5.2, with the server's description. */
export function oauthError(what: string, error: string, description: string | undefined): OAuthError {
  const code = ERROR_CODE.test(error) ? error : 'unknown_error';
  const said = description ? `: ${quote(description)}` : '';
  return new OAuthError(`${what} answered ${quote(code)}${said}.`, { error: code });
}

/** Throws if the response only says that the server has problems (5xx or 429), and nothing about the request. */
export function checkServerUp(response: HttpResponse, what: string): void {
  if (response.status < 500 && response.status !== 429) return;
  throw new NetworkError(`${what} answered HTTP ${response.status}.`, {
    retryAfterMs: retryAfterMs(response.headers),
    // The gateway gave up, but the server behind it may still process the request.
    inDoubtMs: GATEWAY_GAVE_UP.has(response.status) ? IN_DOUBT_MS : 0,
    hint:
      response.status === 429
        ? 'It asks for fewer requests. Try again in a moment.'
        : 'The server is in trouble. Try again in a moment.',
  });
}
