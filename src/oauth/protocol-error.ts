import { NetworkError, OAuthError } from '../errors.ts';
import { type HttpResponse, retryAfterMs } from '../http/request.ts';
import { quote } from '../quote.ts';

/** The `error` codes of RFC 6749 section 5.2 are made of these characters. */
const ERROR_CODE = /^[\x20-\x21\x23-\x5b\x5d-\x7e]{1,64}$/;

/** 502 Bad Gateway and 504 Gateway Timeout (RFC 9110 sections 15.6.3 and 15.6.5). */
const GATEWAY_GAVE_UP = new Set([502, 504]);

/** How long a server behind a gateway may take, in milliseconds: the usual limit of gateways is as long. */
const IN_DOUBT_MS = 60_000;

/**
 * The codes of the standards (RFC 6749, 7009, 7591, 8628, 8707, 9449 and OpenID Connect). They are no secret, whatever one of
 * ours happens to be spelt like, and programs branch on them.
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

/** Whether a standard has that error code. */
export function isStandardError(code: string): boolean {
  return STANDARD_ERRORS.has(code);
}

/** An error of RFC 6749 section 4.1.2.1 or 5.2, as the server said it. */
export function oauthError(what: string, error: string, description: string | undefined): OAuthError {
  const code = ERROR_CODE.test(error) ? error : 'unknown_error';
  const said = description ? `: ${quote(description)}` : '';
  return new OAuthError(`${what} answered ${quote(code)}${said}.`, { error: code });
}

/** Throws for an answer that says nothing of the request, only that the server is in trouble. */
export function checkServerUp(response: HttpResponse, what: string): void {
  if (response.status < 500 && response.status !== 429) return;
  throw new NetworkError(`${what} answered HTTP ${response.status}.`, {
    retryAfterMs: retryAfterMs(response.headers),
    // A gateway gave up; the server behind it may not have.
    inDoubtMs: GATEWAY_GAVE_UP.has(response.status) ? IN_DOUBT_MS : 0,
    hint:
      response.status === 429
        ? 'It asks for fewer requests. Try again in a moment.'
        : 'The server is in trouble. Try again in a moment.',
  });
}
