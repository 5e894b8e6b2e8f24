import * as oauth from 'oauth4webapi';
import type { ClientRegistration } from '../credential.ts';
import { quote } from '../quote.ts';
import type { Secret } from '../secret.ts';
import { clientOf, through } from './client-authentication.ts';
import type { RequestOptions } from './http.ts';
import { protocolError } from './protocol-error.ts';

/**
 * Revokes a token (RFC 7009). One that the server does not know counts as revoked (section 2.2).
 *
 * @throws OAuthError, NetworkError, TimeoutError, InvalidResponseError
 */
export async function revokeToken(
  server: { issuer: string; revocationEndpoint: string },
  registration: ClientRegistration,
  token: Secret,
  hint: 'refresh_token' | 'access_token',
  options: RequestOptions = {},
): Promise<void> {
  const what = `The revocation endpoint of ${quote(server.issuer)}`;
  const { client, authentication } = clientOf(registration);
  try {
    const response = await oauth.revocationRequest(
      { issuer: server.issuer, revocation_endpoint: server.revocationEndpoint },
      client,
      authentication,
      token.reveal(),
      { ...through(options, what), additionalParameters: { token_type_hint: hint } },
    );
    await oauth.processRevocationResponse(response);
  } catch (error) {
    throw protocolError(error, what);
  }
}
