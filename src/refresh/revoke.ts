import type { Credential } from '../credential.ts';
import { OAuthError } from '../errors.ts';
import type { RequestOptions } from '../http/request.ts';
import { withEndpoints } from './request-tokens.ts';

/**
 * Revokes the tokens of a credential (RFC 7009): first the refresh token, because the server then ends the whole grant
 * (section 2.1), then the access token.
 *
 * @throws OAuthError, NetworkError, TimeoutError when the server failed
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
    // RFC 7009 section 2.2.1: a server cannot revoke a token that it does not store, such as a JWT. Revoking the
    // refresh token has ended the login, and that access token expires automatically.
    const kept = error instanceof OAuthError && error.error === 'unsupported_token_type';
    if (!kept || tokens.refreshToken === undefined) throw error;
  }
  return 'revoked';
}
