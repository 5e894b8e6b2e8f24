import type { Credential } from '../credential.ts';
import type { Redeemed } from './redeem.ts';

/* Which state of a credential followed from which, and which of two counts for more. */

/**
 * What an answer makes of the credential that it was asked for with. What it leaves out stays as it was (RFC 6749 section 6);
 * but not a refresh token that was refused.
 *
 * @param epoch the claim under which it was asked for, where the lease is a claim
 */
export function following(
  credential: Credential,
  { tokens, scope, anew, found }: Redeemed,
  epoch: number | undefined,
): Credential {
  const { loginRequired: _mended, epoch: _before, ...rest } = credential;
  return {
    ...rest,
    ...found,
    generation: credential.generation + 1,
    ...(epoch === undefined ? {} : { epoch }),
    tokens: {
      ...tokens,
      refreshToken: tokens.refreshToken ?? (anew ? undefined : credential.tokens.refreshToken),
    },
    grantedScope: scope ?? credential.grantedScope,
  };
}

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
