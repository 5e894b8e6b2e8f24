import type { Credential } from '../credential.ts';

/* Decides which of two states of a credential is newer. */

/** Whether the tokens differ. A login after a logout starts at generation 1 again, so this compares the tokens too. */
export function hasMoved(now: Credential, before: Credential): boolean {
  return now.generation !== before.generation || !hasSameTokens(now, before);
}

/**
 * Whether both states come from the same answer. The access token alone does not prove it: a server may return a cached
 * one, or mint two equal ones within a second, with different refresh tokens.
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
 * Whether `answer`, which came from an earlier state of `stored`, should replace it. It should if it is a later
 * generation of the same login. It also should if it is the same generation under a later lease: of two answers to one
 * refresh token, the later is valid at every server. A different login was made afterwards, whatever the clocks say, so
 * it stays.
 */
export function isNewer(answer: Credential, stored: Credential): boolean {
  if (answer.loggedInAt !== stored.loggedInAt) return false;
  if (answer.generation !== stored.generation) return answer.generation > stored.generation;
  return (answer.epoch ?? 0) > (stored.epoch ?? 0);
}

/**
 * Whether `stored` is a later login of another client, made after the login of `answer` was removed. A login that
 * replaces another continues its generations; a login after a logout starts at 1. Some servers end all grants of a
 * client together, so revoking an answer of the same client could end the later login.
 */
export function isAfterRemoval(stored: Credential, answer: Credential): boolean {
  if (stored.loggedInAt <= answer.loggedInAt || stored.generation >= answer.generation) return false;
  return stored.server.issuer !== answer.server.issuer || stored.client.clientId !== answer.client.clientId;
}
