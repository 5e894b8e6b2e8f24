import type { AuthorizationServer, Credential } from '../credential.ts';
import { loginCommand } from '../credentials/login-required.ts';
import { IssuerMismatchError } from '../errors.ts';
import type { RequestOptions } from '../http/request.ts';
import { quote } from '../quote.ts';

/*
 * docker-agent before it recorded `auth_server` did not note who issued a login. Its refresh token is then sent to nobody:
 * only the MCP server's present word would say where to.
 */

/**
 * The same credential with its server's endpoints, where only docker-agent has ever logged in: its files do not hold them.
 *
 * @throws IssuerMismatchError when the MCP server names another authorization server now, or the login does not say which one
 *   it is of; nothing was sent to that one
 * @throws NetworkError and whatever discovery throws
 */
export async function withEndpoints(credential: Credential, options: RequestOptions): Promise<Credential> {
  const { server: known, resource, client } = credential;
  if (known.tokenEndpoint !== '') return credential;
  const { discover } = await import('../oauth/discovery.ts');
  const { server, reach, resourceParameter } = await discover(resource, {
    signal: options.signal,
    timeoutMs: options.timeoutMs,
  });
  const hint = `The tokens were not sent there. Log in again: ${loginCommand(resource, credential.account)}`;
  if (known.issuer === '') {
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
