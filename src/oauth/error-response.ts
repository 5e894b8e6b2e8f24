import { type HoldfastError, InvalidResponseError, NetworkError } from '../errors.ts';
import type { HttpResponse } from '../http/request.ts';
import { Secret } from '../secret.ts';
import { isStandardError, oauthError } from './protocol-error.ts';

/** What an answer may give beside its error, and then repeat in the error's words. */
const GIVEN = ['access_token', 'refresh_token', 'id_token'];

/**
 * The error that an endpoint answered with: one of RFC 6749 section 5.2, or none that the standard knows.
 *
 * @param answer the members of its JSON object, if it holds one
 * @param secrets what was sent, and must not come back in a message, however the server words its errors
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
    // RFC 6749 section 5.2 has every refusal of a client say so in its body. A gateway, a firewall or a maintenance page does not.
    return new NetworkError(`${what} answered HTTP 401 without an OAuth error.`, {
      hint: 'A gateway in front of the server may have answered: try again in a moment. If it goes on, check the client id and secret.',
    });
  }
  return new InvalidResponseError(`${what} answered HTTP ${status} without saying why.`, {
    hint: 'Tell who runs the server.',
  });
}

/** An error code: one of a standard as it is, as its letters say nothing of a secret that is spelt like a part of it. */
export function codeWithoutSecrets(secrets: readonly (Secret | undefined)[], code: string): string {
  return isStandardError(code) ? code : withoutSecrets(secrets, code);
}

/** The text with `[secret]` in place of each of them, as it is or as it stands in a form or a URL. */
export function withoutSecrets(secrets: readonly (Secret | undefined)[], text: string): string {
  const forms = secrets.flatMap((secret) => {
    const value = secret?.reveal() ?? '';
    const inForm = new URLSearchParams({ x: value }).toString().slice(2);
    // By way of bytes, as what a server gave may be no text that can be encoded.
    const inUrl = encodeURIComponent(Buffer.from(value).toString());
    const inSmallLetters = [inForm, inUrl].map((form) => form.replace(/%../g, (code) => code.toLowerCase()));
    return value === '' ? [] : [value, inForm, inUrl, ...inSmallLetters];
  });
  // The longest first, as one may be part of another. Each becomes one character that is in none of them: secrets of one
  // letter, found in what was put in for others, would make the text grow without measure.
  let rest = text;
  for (const form of forms.toSorted((a, b) => b.length - a.length)) rest = rest.replaceAll(form, '\0');
  return rest.replace(/\0+/g, '[secret]');
}
