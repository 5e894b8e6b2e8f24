import type { Credential } from '../credential.ts';
import type { TokenAnswer } from './request-tokens.ts';

/**
 * Merges a token response into its credential. A field that the response omits keeps its value (RFC 6749 section 6),
 * except a refresh token that was refused.
 */
export function applyTokenResponse(
  credential: Credential,
  { tokens, scope, isNewGrant, found }: TokenAnswer,
): Credential {
  const { loginRequired: _over, epoch: _before, ...rest } = credential;
  return {
    ...rest,
    ...found,
    generation: credential.generation + 1,
    tokens: {
      ...tokens,
      refreshToken: tokens.refreshToken ?? (isNewGrant ? undefined : credential.tokens.refreshToken),
    },
    grantedScope: scope ?? credential.grantedScope,
  };
}
