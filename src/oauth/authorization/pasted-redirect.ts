import { HoldfastError } from '../../errors.ts';
import { type AuthorizationRequest, belongsTo, readAuthorizationResponse } from './authorization.ts';

/** Longer than any redirect: a whole file was pasted. */
const MAX_LENGTH = 16 * 1024;

/** A code (RFC 6749 appendix A.11): visible ASCII. */
const CODE = /^[\x21-\x7e]+$/;

/**
 * Reads what a person pasted from the browser: the whole URL that it was sent to, its query, or the code alone. It is
 * checked as a redirect to this machine is. With the code alone there is no `state` to check; the code verifier binds it to
 * this request all the same (RFC 7636), and a server that names itself in its answer is asked for the whole.
 *
 * @returns the code, or what is wrong with the text, as a sentence; the person may then try again
 * @throws LoginDeniedError, OAuthError for an error of the server's that belongs to the request
 */
export function readPasted(
  text: string,
  request: AuthorizationRequest,
): { readonly code: string } | { readonly problem: string } {
  const pasted = text.trim();
  if (pasted === '') return { problem: 'Nothing was pasted.' };
  if (pasted.length > MAX_LENGTH) return { problem: 'That is far too long for the address of a page.' };
  if (/\s/.test(pasted)) return { problem: 'There is white space in it: copy the address as a whole.' };
  if (/^https?:\/\//i.test(pasted) && !URL.canParse(pasted)) return NO_ADDRESS;
  const parameters = parametersOf(pasted);
  if (parameters === undefined) {
    if (!CODE.test(pasted)) return NO_ADDRESS;
    if (request.issParameterSupported) {
      return { problem: 'This server needs the whole address, not the code alone.' };
    }
    return { code: pasted };
  }
  const problem = notTheAnswer(parameters, request);
  if (problem !== undefined) return { problem };
  try {
    return { code: readAuthorizationResponse(request, parameters) };
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'callback-rejected') {
      return { problem: error.message };
    }
    throw error;
  }
}

const NO_ADDRESS = { problem: 'That is neither the address of a page nor a code.' } as const;

/** The addresses that people paste in place of the right one. */
function notTheAnswer(parameters: URLSearchParams, request: AuthorizationRequest): string | undefined {
  if (parameters.has('response_type')) {
    return 'That is the address to open. Log in there, and copy the address that the browser ends at.';
  }
  if (!['code', 'error', 'state'].some((name) => parameters.has(name))) {
    return 'That address holds no answer of the server. Log in first, then copy the address that the browser ends at.';
  }
  if (!belongsTo(request, parameters)) {
    return 'That address has another state, so it belongs to another login. Copy the one that this login ended at, as a whole.';
  }
  return undefined;
}

/** Of a URL, its query: no answer was asked for in the fragment. */
function parametersOf(text: string): URLSearchParams | undefined {
  if (/^https?:\/\//i.test(text)) return new URL(text).searchParams;
  const query = text.replace(/^[?&]/, '');
  return /^(code|state|iss|error)=/.test(query) || query.length < text.length
    ? new URLSearchParams(query)
    : undefined;
}
