import type { AuthorizationServer, Credential } from '../credential.ts';
import { cannotRefresh, loginCommand } from '../credentials/login-required.ts';
import { type HoldfastError, InvalidResponseError, IssuerMismatchError, OAuthError } from '../errors.ts';
import type { RequestOptions } from '../http/request.ts';
import type { TokenResponse } from '../oauth/tokens/token.ts';
import { quote } from '../quote.ts';
import type { Environment } from '../system/environment.ts';

/** The answer of the token endpoint, and whether a new grant replaced the earlier refresh token. */
export interface TokenAnswer extends TokenResponse {
  readonly isNewGrant?: true | undefined;
  /** Why its access token cannot be used. The tokens are then the old ones with the next refresh token. */
  readonly problem?: HoldfastError | undefined;
  /** The server data that discovery had to find first. It is saved with the tokens. */
  readonly found?: Pick<Credential, 'server' | 'client' | 'resourceParameter'> | undefined;
}

/**
 * Requests the next tokens of a credential, by its refresh token or by a grant that needs none. When the server refuses
 * a refresh token that such a grant yielded, the login does not end: the grant is used again.
 *
 * @param options.beforeSend called before a request with a token, or another proof, leaves; if it throws, nothing is
 * sent. `onConnected` is awaited a moment before, and `afterSend` is called a moment after
 * @throws OAuthError, NetworkError, TimeoutError, InvalidResponseError when the server failed
 */
export async function requestTokens(
  credential: Credential,
  environment: Environment,
  { onConnected, beforeSend, afterSend, ...wait }: RequestOptions,
): Promise<TokenAnswer> {
  const known = await withEndpoints(credential, wait);
  const { server, client, tokens, grant, resourceParameter, dpopKey } = known;
  const found = known === credential ? undefined : { server, client, resourceParameter };
  const options = { ...wait, onConnected, beforeSend, afterSend };
  if (tokens.refreshToken !== undefined) {
    const { IncompleteTokensError, refreshTokens } = await import('../oauth/tokens/token.ts');
    const presented = { refreshToken: tokens.refreshToken, resourceParameter };
    try {
      return { ...(await refreshTokens(server, client, presented, { ...options, dpopKey })), found };
    } catch (error) {
      if (error instanceof IncompleteTokensError) {
        const { message, hint, refreshToken } = error;
        const problem = new InvalidResponseError(message, hint === undefined ? {} : { hint });
        return {
          tokens: { ...tokens, refreshToken },
          scope: undefined,
          issuedTokenType: undefined,
          found,
          problem,
        };
      }
      const isRefused = error instanceof OAuthError && error.error === 'invalid_grant';
      if (grant === undefined || !isRefused) throw error;
    }
  }
  if (grant === undefined) throw cannotRefresh(credential);
  const { requestByGrant } = await import('./request-by-grant.ts');
  return { ...(await requestByGrant({ ...credential, grant }, environment, options)), isNewGrant: true };
}

/**
 * Adds the server's endpoints to a login that only docker-agent has made: docker-agent's files do not hold them.
 *
 * @throws IssuerMismatchError when the MCP server now names another authorization server, or the login does not record
 * its issuer; nothing was sent to that server
 * @throws NetworkError and every other error of discovery
 */
export async function withEndpoints(credential: Credential, options: RequestOptions): Promise<Credential> {
  const { server: known, resource, client } = credential;
  if (known.tokenEndpoint !== '') return credential;
  const { discover } = await import('../oauth/discovery/discovery.ts');
  const { server, reach, resourceParameter } = await discover(resource, {
    signal: options.signal,
    timeoutMs: options.timeoutMs,
    environment: options.environment,
  });
  const hint = `The tokens were not sent there. Log in again: ${loginCommand(resource, credential.account)}`;
  if (known.issuer === '') {
    // docker-agent's older releases did not record the issuer of a login. Only the MCP server's current metadata would
    // say where to send its tokens.
    throw new IssuerMismatchError(
      `docker-agent has not recorded who issued the login to ${resource}, and the MCP server now names ${quote(server.issuer)}.`,
      { hint },
    );
  }
  if (withoutSlash(known.issuer) !== withoutSlash(server.issuer)) {
    throw new IssuerMismatchError(
      `docker-agent logged in to ${resource} at ${quote(known.issuer)}, and the MCP server now names ${quote(server.issuer)}.`,
      { hint },
    );
  }
  const found: AuthorizationServer = {
    issuer: server.issuer,
    tokenEndpoint: server.tokenEndpoint,
    revocationEndpoint: server.revocationEndpoint,
    reach,
  };
  const methods = server.tokenEndpointAuthMethods;
  const byHeader = client.clientSecret !== undefined && methods?.includes('client_secret_post') === false;
  return {
    ...credential,
    server: found,
    resourceParameter,
    client: byHeader ? { ...client, authMethod: 'client_secret_basic' } : client,
  };
}

function withoutSlash(issuer: string): string {
  return issuer.replace(/\/$/, '');
}
