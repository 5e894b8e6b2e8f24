import { HoldfastError } from '../../errors.ts';
import { type AuthorizationRequest, belongsTo, readAuthorizationResponse } from './authorization.ts';

/** Longer than any redirect: the user has pasted a whole file. */
const MAX_LENGTH = 16 * 1024;

/** A code (RFC 6749 appendix A.11): visible ASCII. */
const CODE = /^[\x21-\x7e]+$/;

/**
 * Reads the text that the user pasted from the browser: the whole redirect URL, its query, or the code alone. Runs the
 * same checks as for a redirect to this machine. A code alone carries no `state` to check, but the code verifier still
 * binds it to this request (RFC 7636). If the server promises `iss`, the code alone is refused and the user must paste
 * the whole URL.
 *
 * @returns the code, or a sentence that says what is wrong with the text; the user may then try again
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

/** Recognizes the addresses that people paste by mistake. */
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

/** Reads the query of a URL only: Holdfast never requests a response in the fragment. */
function parametersOf(text: string): URLSearchParams | undefined {
  if (/^https?:\/\//i.test(text)) return new URL(text).searchParams;
  const query = text.replace(/^[?&]/, '');
  return /^(code|state|iss|error)=/.test(query) || query.length < text.length
    ? new URLSearchParams(query)
    : undefined;
}
