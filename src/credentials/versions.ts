import type { Credential } from '../credential.ts';

/* Which of two states of a credential is the newer one. */

/** Whether the tokens are others than before. A login after a logout counts from 1 again, so the tokens are compared too. */
export function hasMoved(now: Credential, before: Credential): boolean {
  return now.generation !== before.generation || !hasSameTokens(now, before);
}

/**
 * Whether both are one answer of one server. Access tokens alone do not tell: a server may hand out a cached one, or mint two
 * equal ones within a second, beside different refresh tokens.
 */
export function isSameAnswer(a: Credential, b: Credential): boolean {
  return !hasMoved(a, b) && a.epoch === b.epoch && a.loggedInAt === b.loggedInAt;
}

function hasSameTokens({ tokens: a }: Credential, { tokens: b }: Credential): boolean {
  if (!a.accessToken.equals(b.accessToken)) return false;
  return a.refreshToken === undefined || b.refreshToken === undefined
    ? a.refreshToken === b.refreshToken
    : a.refreshToken.equals(b.refreshToken);
}

/**
 * Whether `answer`, which followed from an earlier state of `stored`, should replace it: when it is a later generation of the
 * same login; or the same generation, asked for under a later lease, since of two answers to one refresh token the later one is
 * good at every server. Another login than its own was made after it, whatever the clocks say.
 */
export function isNewer(answer: Credential, stored: Credential): boolean {
  if (answer.loggedInAt !== stored.loggedInAt) return false;
  if (answer.generation !== stored.generation) return answer.generation > stored.generation;
  return (answer.epoch ?? 0) > (stored.epoch ?? 0);
}

/**
 * Whether `stored` is a later login, made after the login of `answer` was removed, and by another client. A login that replaces
 * another continues its generations; one after a logout starts at 1. Some servers end every grant of a client together: to
 * revoke an answer of the same client could end the later login.
 */
export function isAfterRemoval(stored: Credential, answer: Credential): boolean {
  if (stored.loggedInAt <= answer.loggedInAt || stored.generation >= answer.generation) return false;
  return stored.server.issuer !== answer.server.issuer || stored.client.clientId !== answer.client.clientId;
}
