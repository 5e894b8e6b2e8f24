import type { Credential } from '../credential.ts';
import { cannotRefresh } from '../credentials/login-required.ts';
import { OAuthError } from '../errors.ts';
import type { RequestOptions } from '../http/request.ts';
import type { TokenResponse } from '../oauth/token.ts';
import type { Environment } from '../system/environment.ts';
import { withEndpoints } from './with-endpoints.ts';

/** What the token endpoint gave, and whether a refresh token that was there has been left behind. */
export interface Redeemed extends TokenResponse {
  readonly anew?: true | undefined;
  /** What had to be found out of the server first, and is to be kept with the tokens. */
  readonly found?: Pick<Credential, 'server' | 'client' | 'resourceParameter'> | undefined;
}

/**
 * Asks for the next tokens of a credential: by its refresh token, or by the grant that needs none. A refresh token that came of
 * such a grant, and is refused, ends nothing: the grant is asked again.
 *
 * @param options.beforeSend called before what presents something leaves, and not before what only asks; so `afterSend`
 * @throws OAuthError, NetworkError, TimeoutError, InvalidResponseError for what the server did
 */
export async function redeem(
  credential: Credential,
  environment: Environment,
  { beforeSend, afterSend, ...wait }: RequestOptions,
): Promise<Redeemed> {
  const known = await withEndpoints(credential, wait);
  const { server, client, tokens, grant, resourceParameter, dpopKey } = known;
  const found = known === credential ? undefined : { server, client, resourceParameter };
  const options = { ...wait, beforeSend, afterSend };
  if (tokens.refreshToken !== undefined) {
    const { refreshTokens } = await import('../oauth/token.ts');
    const presented = { refreshToken: tokens.refreshToken, resourceParameter };
    try {
      return { ...(await refreshTokens(server, client, presented, { ...options, dpopKey })), found };
    } catch (error) {
      if (grant === undefined || !(error instanceof OAuthError) || error.error !== 'invalid_grant')
        throw error;
    }
  }
  if (grant === undefined) throw cannotRefresh(credential);
  const { requestByGrant } = await import('./request-by-grant.ts');
  return { ...(await requestByGrant({ ...credential, grant }, environment, options)), anew: true };
}
