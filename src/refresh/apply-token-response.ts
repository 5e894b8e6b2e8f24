import type { Credential } from '../credential.ts';
import type { TokenAnswer } from './request-tokens.ts';

/**
 * What an answer makes of the credential that it was asked for with. What it leaves out stays as it was (RFC 6749 section 6);
 * but not a refresh token that was refused.
 */
export function applyTokenResponse(
  credential: Credential,
  { tokens, scope, anew, found }: TokenAnswer,
): Credential {
  const { loginRequired: _over, epoch: _before, ...rest } = credential;
  return {
    ...rest,
    ...found,
    generation: credential.generation + 1,
    tokens: {
      ...tokens,
      refreshToken: tokens.refreshToken ?? (anew ? undefined : credential.tokens.refreshToken),
    },
    grantedScope: scope ?? credential.grantedScope,
  };
}
