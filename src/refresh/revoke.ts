import type { Credential } from '../credential.ts';
import { OAuthError } from '../errors.ts';
import type { RequestOptions } from '../http/request.ts';
import { withEndpoints } from './request-tokens.ts';

/**
 * Revokes the tokens of a credential (RFC 7009): the refresh token first, since with it the server ends the whole grant (section
 * 2.1); then the access token.
 *
 * @throws OAuthError, NetworkError, TimeoutError for what the server did
 */
export async function revokeTokens(
  credential: Credential,
  wait: RequestOptions,
): Promise<'revoked' | 'not-offered'> {
  const { server, client, tokens } = await withEndpoints(credential, wait);
  if (server.revocationEndpoint === undefined) return 'not-offered';
  const { revokeToken } = await import('../oauth/tokens/revocation.ts');
  const at = { ...server, revocationEndpoint: server.revocationEndpoint };
  if (tokens.refreshToken !== undefined) {
    await revokeToken(at, client, tokens.refreshToken, 'refresh_token', wait);
  }
  try {
    await revokeToken(at, client, tokens.accessToken, 'access_token', wait);
  } catch (error) {
    // RFC 7009 section 2.2.1: a server cannot take back what it does not keep, such as a JWT. With the refresh token gone
    // the login has ended, and that token lapses by itself.
    const kept = error instanceof OAuthError && error.error === 'unsupported_token_type';
    if (!kept || tokens.refreshToken === undefined) throw error;
  }
  return 'revoked';
}
