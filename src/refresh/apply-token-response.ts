import type { Credential } from '../credential.ts';
import type { Redeemed } from './request-tokens.ts';

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
