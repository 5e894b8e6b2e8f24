import * as oauth from 'oauth4webapi';
import type { AuthorizationServer, ClientRegistration } from '../../credential.ts';
import type { RequestOptions } from '../../http/request.ts';
import { quote } from '../../quote.ts';
import type { Secret } from '../../secret.ts';
import { errorResponse } from '../error-response.ts';
import { jsonObject } from '../json-object.ts';
import { protocolError } from '../protocol-error.ts';
import { oauth4webapiClient, through } from './client-authentication.ts';

/** Where to revoke, and what the requests there go by. */
export interface RevocationServer extends Pick<AuthorizationServer, 'issuer' | 'reach'> {
  readonly revocationEndpoint: string;
  /** As for the token endpoint. */
  readonly signingAlgorithms?: readonly string[] | undefined;
}

/**
 * Revokes a token (RFC 7009). One that the server does not know counts as revoked (section 2.2).
 *
 * @throws OAuthError, NetworkError, TimeoutError, InvalidResponseError; InvalidArgumentError for a client's unusable key
 */
export async function revokeToken(
  server: RevocationServer,
  registration: ClientRegistration,
  token: Secret,
  hint: 'refresh_token' | 'access_token',
  options: RequestOptions = {},
): Promise<void> {
  const what = `The revocation endpoint of ${quote(server.issuer)}`;
  const { client, authentication, proofs } = oauth4webapiClient(registration, server.signingAlgorithms);
  const reach = server.reach ?? options.reach;
  let response: Response;
  try {
    response = await oauth.revocationRequest(
      { issuer: server.issuer, revocation_endpoint: server.revocationEndpoint },
      client,
      authentication,
      token.reveal(),
      { ...through({ ...options, reach }, what), additionalParameters: { token_type_hint: hint } },
    );
  } catch (error) {
    throw protocolError(error, what);
  }
  // The standard says 200. Whatever else means success, such as 204, is one all the same.
  if (response.ok) return;
  const { object: answer } = jsonObject(new Uint8Array(await response.arrayBuffer()));
  throw errorResponse(what, response, answer, [token, ...proofs]);
}
