import type { AuthorizationServer, ClientRegistration } from '../../credential.ts';
import { isSuccess, type RequestOptions } from '../../http/request.ts';
import { quote } from '../../quote.ts';
import type { Secret } from '../../secret.ts';
import { errorResponse } from '../error-response.ts';
import { AuthenticatedClient } from './client-authentication.ts';

/** The revocation endpoint, and the settings for requests to it. */
export interface RevocationServer extends Pick<AuthorizationServer, 'issuer' | 'reach'> {
  readonly revocationEndpoint: string;
  /** The same as for the token endpoint. */
  readonly signingAlgorithms?: readonly string[] | undefined;
}

/**
 * Revokes a token (RFC 7009). A token that the server does not know counts as revoked (section 2.2).
 *
 * @throws OAuthError, NetworkError, TimeoutError, InvalidResponseError; InvalidArgumentError for a client's unusable
 *   key
 */
export async function revokeToken(
  server: RevocationServer,
  registration: ClientRegistration,
  token: Secret,
  hint: 'refresh_token' | 'access_token',
  options: RequestOptions = {},
): Promise<void> {
  const what = `The revocation endpoint of ${quote(server.issuer)}`;
  const client = new AuthenticatedClient(registration, server);
  const form = new URLSearchParams({ token: token.reveal(), token_type_hint: hint });
  const reach = server.reach ?? options.reach;
  const { response, answer } = await client.post(server.revocationEndpoint, form, {
    ...options,
    reach,
    what,
  });
  // The standard prescribes 200, but any other success status, such as 204, counts too.
  if (isSuccess(response)) return;
  throw errorResponse(what, response, answer, [token, ...client.proofs]);
}
