import * as oauth from 'oauth4webapi';
import type { ClientAuthMethod, ClientRegistration } from '../credential.ts';
import { InvalidResponseError, OAuthError, ServerUnsupportedError } from '../errors.ts';
import { quote } from '../quote.ts';
import { Secret } from '../secret.ts';
import { through } from './client-authentication.ts';
import type { ServerMetadata } from './discovery.ts';
import type { RequestOptions } from './http.ts';
import { protocolError } from './protocol-error.ts';

/** What we can do at a token endpoint, the plainest first: a command line keeps no secret from its user (RFC 8252 section 8.4). */
const AUTH_METHODS: readonly ClientAuthMethod[] = ['none', 'client_secret_post', 'client_secret_basic'];

/**
 * Registers a client of our own (RFC 7591), as a native application with refresh tokens.
 *
 * @param redirectUri where the browser will come back to, exactly
 * @throws ServerUnsupportedError when the server takes no registrations, OAuthError when it refuses this one
 */
export async function registerClient(
  server: ServerMetadata,
  redirectUri: string,
  options: RequestOptions & { scope?: string | undefined } = {},
): Promise<ClientRegistration> {
  const issuer = quote(server.issuer);
  if (server.registrationEndpoint === undefined) {
    throw new ServerUnsupportedError(`${issuer} takes no dynamic registrations (RFC 7591).`, {
      hint: 'It needs a client that was registered by hand, which this Holdfast cannot use yet.',
    });
  }
  const what = `The registration endpoint of ${issuer}`;
  let answer: Awaited<ReturnType<typeof oauth.processDynamicClientRegistrationResponse>>;
  try {
    const response = await oauth.dynamicClientRegistrationRequest(
      { issuer: server.issuer, registration_endpoint: server.registrationEndpoint },
      {
        client_name: 'Holdfast',
        application_type: 'native',
        redirect_uris: [redirectUri],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: authMethod(server),
        ...(options.scope === undefined || options.scope === '' ? {} : { scope: options.scope }),
      },
      through(options, what),
    );
    answer = await oauth.processDynamicClientRegistrationResponse(response);
  } catch (error) {
    const failure = protocolError(error, what);
    if (failure instanceof OAuthError) {
      throw new OAuthError(`${issuer} refused to register Holdfast. ${failure.message}`, {
        error: failure.error,
        hint: 'Tell who runs the server, or ask them for a client that is registered by hand.',
      });
    }
    throw failure;
  }
  return read(answer, redirectUri, authMethod(server), what);
}

function read(
  answer: Awaited<ReturnType<typeof oauth.processDynamicClientRegistrationResponse>>,
  redirectUri: string,
  asked: ClientAuthMethod,
  what: string,
): ClientRegistration {
  // RFC 7591 section 3.2.1: the server may have put other values in place of ours.
  const method = AUTH_METHODS.find((one) => one === (answer.token_endpoint_auth_method ?? asked));
  if (method === undefined) {
    throw new InvalidResponseError(
      `${what} registered Holdfast with ${quote(JSON.stringify(answer.token_endpoint_auth_method))}, which it cannot do.`,
      { hint: 'Tell who runs the server.' },
    );
  }
  const secret = answer.client_secret;
  if (method !== 'none' && typeof secret !== 'string') {
    throw new InvalidResponseError(`${what} demands a client secret and gave none.`, {
      hint: 'Tell who runs the server.',
    });
  }
  const expiresAt = answer['client_secret_expires_at'];
  return {
    clientId: answer.client_id,
    clientSecret: method === 'none' || typeof secret !== 'string' ? undefined : new Secret(secret),
    // In seconds, and 0 for never (RFC 7591 section 3.2.1).
    clientSecretExpiresAt:
      method !== 'none' && typeof expiresAt === 'number' && expiresAt > 0
        ? Math.round(expiresAt * 1000)
        : undefined,
    authMethod: method,
    redirectUris: [redirectUri],
    source: 'dynamic',
  };
}

/** Where the metadata is silent, `client_secret_basic` is what the server supports (RFC 8414 section 2). */
function authMethod({ issuer, tokenEndpointAuthMethods }: ServerMetadata): ClientAuthMethod {
  const supported = tokenEndpointAuthMethods ?? ['client_secret_basic'];
  const method = AUTH_METHODS.find((one) => supported.includes(one));
  if (method !== undefined) return method;
  throw new ServerUnsupportedError(
    `${quote(issuer)} takes none of the ways in which Holdfast can prove itself: ${quote(supported.join(', '))}.`,
    { hint: 'Tell who runs the server.' },
  );
}
