import { HoldfastError } from '../errors.ts';
import { type AuthorizationRequest, readAuthorizationResponse } from './authorization.ts';

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
  const parameters = parametersOf(pasted);
  if (parameters === undefined) {
    if (!CODE.test(pasted)) return { problem: 'That is neither the address of a page nor a code.' };
    if (request.issParameterSupported) {
      return { problem: 'This server needs the whole address, not the code alone.' };
    }
    return { code: pasted };
  }
  try {
    return { code: readAuthorizationResponse(request, parameters) };
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'callback-rejected') {
      return { problem: error.message };
    }
    throw error;
  }
}

/** Of a URL, its query; servers that answer in the fragment were asked for nothing of the kind, but people paste them. */
function parametersOf(text: string): URLSearchParams | undefined {
  if (/^https?:\/\//i.test(text)) {
    if (!URL.canParse(text)) return new URLSearchParams();
    return new URL(text).searchParams;
  }
  const query = text.replace(/^[?&]/, '');
  return /^(code|state|iss|error)=/.test(query) || query.length < text.length
    ? new URLSearchParams(query)
    : undefined;
}
