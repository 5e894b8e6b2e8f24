import { type HoldfastError, InvalidResponseError, OAuthError } from '../errors.ts';
import type { Secret } from '../secret.ts';
import { oauthError } from './protocol-error.ts';

/**
 * The error that an endpoint answered with: one of RFC 6749 section 5.2, or none that the standard knows.
 *
 * @param answer the members of its JSON object, if it holds one
 * @param secrets what was sent, and must not come back in a message, however the server words its errors
 */
export function errorResponse(
  what: string,
  { status, headers }: Response,
  answer: Readonly<Record<string, unknown>> | undefined,
  secrets: readonly (Secret | undefined)[],
): HoldfastError {
  const { error, error_description: description } = answer ?? {};
  if (typeof error === 'string') {
    const said = typeof description === 'string' ? without(secrets, description) : undefined;
    return oauthError(what, without(secrets, error), said);
  }
  if (status === 401 && headers.has('www-authenticate')) {
    // A client that authenticates by header may be refused by a challenge.
    return new OAuthError(`${what} refused the client (HTTP 401).`, { error: 'invalid_client' });
  }
  return new InvalidResponseError(`${what} answered HTTP ${status} without saying why.`, {
    hint: 'Tell who runs the server.',
  });
}

function without(secrets: readonly (Secret | undefined)[], text: string): string {
  let rest = text;
  for (const secret of secrets) {
    const value = secret?.reveal();
    if (!value) continue;
    // As it is, and as it stood in the form that was sent.
    const inForm = new URLSearchParams({ x: value }).toString().slice(2);
    for (const form of [value, inForm, encodeURIComponent(value)]) {
      rest = rest.replaceAll(form, String(secret));
    }
  }
  return rest;
}
