import type { Credential } from '../credential.ts';

/* Which state of a credential followed from which, and which of two counts for more. */

/** Whether these are other tokens. A login after a logout begins to count anew, so the tokens themselves are compared. */
export function hasMoved(now: Credential, before: Credential): boolean {
  return now.generation !== before.generation || !hasSameTokens(now, before);
}

export function hasSameTokens(a: Credential, b: Credential): boolean {
  return a.tokens.accessToken.equals(b.tokens.accessToken);
}

/**
 * Whether `answer`, which followed from an earlier state of `stored`, should stand in its place: when it is the later
 * generation of the same login; or the same generation, asked for under a later claim, since of two answers to one refresh
 * token the later one is good at every server. Another login than its own was made after it, whatever the clocks say.
 */
export function supersedes(answer: Credential, stored: Credential): boolean {
  if (answer.loggedInAt !== stored.loggedInAt) return false;
  if (answer.generation !== stored.generation) return answer.generation > stored.generation;
  return (answer.epoch ?? 0) > (stored.epoch ?? 0);
}
