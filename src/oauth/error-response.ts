import { type HoldfastError, InvalidResponseError, NetworkError } from '../errors.ts';
import type { HttpResponse } from '../http/request.ts';
import { Secret } from '../secret.ts';
import { isStandardError, oauthError } from './protocol-error.ts';

/** Members that a response may carry beside its error, and repeat in the error's text. */
const GIVEN = ['access_token', 'refresh_token', 'id_token'];

/**
 * Builds the error of an endpoint's error response: an error of RFC 6749 section 5.2, or another one for non-standard
 * responses.
 *
 * @param answer the members of the response's JSON object, if it holds one
 * @param secrets the secrets that were sent; none may appear in a message, however the server words its errors
 */
export function errorResponse(
  what: string,
  { status }: Pick<HttpResponse, 'status'>,
  answer: Readonly<Record<string, unknown>> | undefined,
  secrets: readonly (Secret | undefined)[],
): HoldfastError {
  const { error, error_description: description } = answer ?? {};
  if (typeof error === 'string') {
    const given = GIVEN.map((name) => answer?.[name]).filter((value) => typeof value === 'string');
    const hidden = [...secrets, ...given.map((value) => new Secret(value))];
    const said = typeof description === 'string' ? withoutSecrets(hidden, description) : undefined;
    return oauthError(what, codeWithoutSecrets(hidden, error), said);
  }
  if (status === 401) {
    // RFC 6749 section 5.2: a server that refuses a client says so in the body. A gateway, firewall or maintenance page
    // does not.
    return new NetworkError(`${what} answered HTTP 401 without an OAuth error.`, {
      hint: 'A gateway in front of the server may have answered: try again in a moment. If it goes on, check the client id and secret.',
    });
  }
  return new InvalidResponseError(`${what} answered HTTP ${status} without saying why.`, {
    hint: 'Tell who runs the server.',
  });
}

/**
 * Masks secrets in an error code. A standard code stays unchanged: its letters reveal nothing, even if a secret
 * contains them.
 */
export function codeWithoutSecrets(secrets: readonly (Secret | undefined)[], code: string): string {
  return isStandardError(code) ? code : withoutSecrets(secrets, code);
}

/** Replaces each secret with `[secret]`, in plain, form-encoded and URL-encoded spelling. */
export function withoutSecrets(secrets: readonly (Secret | undefined)[], text: string): string {
  const forms = secrets.flatMap((secret) => {
    const value = secret?.reveal() ?? '';
    const inForm = new URLSearchParams({ x: value }).toString().slice(2);
    // Encode by way of bytes: a server's text may hold lone surrogates, which cannot be encoded.
    const inUrl = encodeURIComponent(Buffer.from(value).toString());
    const inSmallLetters = [inForm, inUrl].map((form) => form.replace(/%../g, (code) => code.toLowerCase()));
    return value === '' ? [] : [value, inForm, inUrl, ...inSmallLetters];
  });
  // Replace the longest first, as one secret may be part of another. Each becomes NUL, a character that no secret
  // holds: otherwise one-letter secrets would match in earlier replacements and the text would grow without bound.
  let rest = text;
  for (const form of forms.toSorted((a, b) => b.length - a.length)) rest = rest.replaceAll(form, '\0');
  return rest.replace(/\0+/g, '[secret]');
}
