import type { ClientAuthMethod, ClientRegistration, Credential } from '../credential.ts';
import { HoldfastError, InvalidArgumentError, IssuerMismatchError, OAuthError } from '../errors.ts';
import type { CallbackServer, CallbackServerOptions } from '../oauth/authorization/callback-server.ts';
import type { Discovery } from '../oauth/discovery/discovery.ts';
import { scopesToAskFor } from '../oauth/discovery/scope-choice.ts';
import { signingAlgorithmOf } from '../oauth/tokens/jwt.ts';
import { quote } from '../quote.ts';
import type { Environment } from '../system/environment.ts';
import type { ClientOptions, LoginOptions } from './types.ts';

/*
 * Chooses the client of a login (MCP authorization, "Client Registration Approaches"): a pre-registered client; else
 * the URL of a client metadata document, if the server supports one; else a client that registers itself once. If the
 * server supports none of them, the error says how to supply a client.
 */

/** The client, as far as it is known before the redirect URI is. */
export type ClientPlan =
  | { readonly by: 'known'; readonly client: ClientRegistration }
  | { readonly by: 'document'; readonly url: string }
  | { readonly by: 'registration' };

/**
 * Chooses the client without contacting a server.
 *
 * @param former the stored credential of that name, if it opens
 * @throws InvalidArgumentError for an unusable client
 * @throws IssuerMismatchError for a client that was registered at another authorization server
 */
export function planClient(
  { server }: Pick<Discovery, 'server'>,
  former: Credential | undefined,
  options: Pick<LoginOptions, 'client' | 'clientMetadataUrl'>,
): ClientPlan {
  const known = knownClient(former, server.issuer, options.client);
  if (options.client !== undefined) {
    return { by: 'known', client: givenClient(options.client, server.tokenEndpointAuthMethods) };
  }
  if (known?.source === 'pre-registered') return { by: 'known', client: known };
  // A document's URL names the same client everywhere, so the last one also works at another issuer (SEP-991).
  const document =
    options.clientMetadataUrl ??
    (former?.client.source === 'metadata-document' ? former.client.clientId : undefined);
  if (document !== undefined && server.clientIdMetadataDocumentSupported) {
    return { by: 'document', url: checkDocumentUrl(document) };
  }
  if (known?.source === 'dynamic') return { by: 'known', client: known };
  return { by: 'registration' };
}

/** Opens the callback server on a port that the client's redirect URIs allow. */
export async function openServerFor(
  plan: ClientPlan,
  open: (options: CallbackServerOptions) => Promise<CallbackServer>,
  { callbackPort }: Pick<LoginOptions, 'callbackPort'>,
  options: Omit<CallbackServerOptions, 'port'>,
): Promise<CallbackServer> {
  if (callbackPort !== undefined) return open({ ...options, port: callbackPort });
  const { DOCUMENT_PORTS } = await import('../oauth/registration/client-metadata.ts');
  for (const port of plan.by === 'document' ? DOCUMENT_PORTS : registeredPorts(plan)) {
    try {
      return await open({ ...options, port });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
  return open(options);
}

/** What the choice or registration of a client depends on. */
type ClientLoginOptions = Pick<LoginOptions, 'interaction' | 'signal' | 'scopes'> & {
  readonly environment: Environment;
};

/**
 * Returns the client with a redirect URI that its server accepts. Registers a client if the plan says so, or if the
 * registered port is taken.
 */
export async function clientFor(
  plan: ClientPlan,
  redirectUri: string,
  discovery: Discovery,
  options: ClientLoginOptions,
): Promise<{ client: ClientRegistration; redirectUri: string }> {
  const { server, reach } = discovery;
  if (plan.by === 'document') return { client: documentClient(plan.url, redirectUri), redirectUri };
  if (plan.by === 'known' && plan.client.source === 'pre-registered') {
    return { client: { ...plan.client, redirectUris: [redirectUri] }, redirectUri };
  }
  if (plan.by === 'known') {
    const registered = plan.client.redirectUris.find(
      (uri) => uri === redirectUri || uri === byName(redirectUri),
    );
    if (registered !== undefined) return { client: plan.client, redirectUri: registered };
  }
  options.interaction?.progress?.(`Registering with ${quote(server.issuer)}`);
  const { registerClient } = await import('../oauth/registration/registration.ts');
  const { signal, environment } = options;
  const limits = { signal, environment, scope: scopeToRegister(discovery, options), reach };
  try {
    return { client: await registerClient(server, redirectUri, limits), redirectUri };
  } catch (error) {
    if (!(error instanceof OAuthError) || error.error !== 'invalid_redirect_uri') throw error;
    // Some servers accept `localhost` but not the loopback address, which RFC 8252 section 8.3 prefers.
    const named = byName(redirectUri);
    return { client: await registerClient(server, named, limits), redirectUri: named };
  }
}

/** Does the same for a login by device code, which has no redirect (RFC 8628). */
export async function deviceClientFor(
  plan: ClientPlan,
  discovery: Discovery,
  options: ClientLoginOptions,
): Promise<ClientRegistration> {
  const { server, reach } = discovery;
  if (
    plan.by === 'known' &&
    (plan.client.source === 'pre-registered' || plan.client.redirectUris.length === 0)
  ) {
    return plan.client;
  }
  // The metadata document declares a client with redirects, so prefer a registration without them.
  if (plan.by === 'document' && server.registrationEndpoint === undefined) {
    return { clientId: plan.url, authMethod: 'none', redirectUris: [], source: 'metadata-document' };
  }
  options.interaction?.progress?.(`Registering with ${quote(server.issuer)}`);
  const { registerClient } = await import('../oauth/registration/registration.ts');
  return registerClient(server, undefined, {
    signal: options.signal,
    environment: options.environment,
    scope: scopeToRegister(discovery, options),
    reach,
  });
}

/**
 * Returns all scopes to request, if the caller chose any: some servers grant a client only the scopes that it
 * registered.
 */
function scopeToRegister(discovery: Discovery, { scopes }: Pick<LoginOptions, 'scopes'>): string | undefined {
  return scopes && scopesToAskFor(discovery, { scopes }).join(' ');
}

/** Builds a client that the caller or the settings named. */
export function givenClient(
  { id, secret, privateKey, keyId, authMethod: chosen }: ClientOptions,
  supported: readonly string[] | undefined,
): ClientRegistration {
  if (!/^[\x20-\x7e]{1,2048}$/.test(id)) {
    throw new InvalidArgumentError(`${quote(id)} cannot be a client id (RFC 6749 appendix A.1).`);
  }
  const authMethod = chosen ?? fittingMethod(secret !== undefined, privateKey !== undefined, supported);
  if (authMethod === 'private_key_jwt' && privateKey === undefined) {
    throw new InvalidArgumentError('private_key_jwt needs a private key.', {
      hint: 'Name the file that holds it, as PKCS #8 in PEM: --client-key-file FILE',
    });
  }
  if (authMethod.startsWith('client_secret') && secret === undefined) {
    throw new InvalidArgumentError(`${authMethod} needs a client secret.`, {
      hint: 'Name the file that holds it: --client-secret-file FILE, or set HOLDFAST_CLIENT_SECRET',
    });
  }
  // Find an unusable key before any token request or prompt.
  if (authMethod === 'private_key_jwt' && privateKey !== undefined) signingAlgorithmOf(privateKey);
  return {
    clientId: id,
    clientSecret: authMethod.startsWith('client_secret') ? secret : undefined,
    privateKey: authMethod === 'private_key_jwt' ? privateKey : undefined,
    keyId: authMethod === 'private_key_jwt' ? keyId : undefined,
    authMethod,
    redirectUris: [],
    source: 'pre-registered',
  };
}

/** Metadata without a list means `client_secret_basic` (RFC 8414 section 2). */
function fittingMethod(
  hasSecret: boolean,
  hasKey: boolean,
  supported: readonly string[] = ['client_secret_basic'],
): ClientAuthMethod {
  if (hasKey) return 'private_key_jwt';
  if (!hasSecret) return 'none';
  const onlyPost = supported.includes('client_secret_post') && !supported.includes('client_secret_basic');
  return onlyPost ? 'client_secret_post' : 'client_secret_basic';
}

/**
 * Returns the client of an earlier login, if it can be used at this issuer. A registration belongs to the issuer that
 * gave it (SEP-2352). At another issuer, Holdfast registers again, and refuses to try a client that a person
 * registered.
 */
function knownClient(
  former: Credential | undefined,
  issuer: string,
  given: ClientOptions | undefined,
): ClientRegistration | undefined {
  if (given?.issuer !== undefined && given.issuer !== issuer) throw elsewhere(given.id, given.issuer, issuer);
  if (former === undefined) return undefined;
  const { client, server, loginRequired } = former;
  if (server.issuer !== issuer) {
    const same = given === undefined ? client.source === 'pre-registered' : given.id === client.clientId;
    if (same && given?.issuer === undefined) throw elsewhere(client.clientId, server.issuer, issuer);
    return undefined;
  }
  const lapsed = client.clientSecretExpiresAt !== undefined && client.clientSecretExpiresAt <= Date.now();
  // A server that refused the client itself has forgotten it.
  return lapsed || loginRequired?.error === 'invalid_client' ? undefined : client;
}

function elsewhere(id: string, registeredAt: string, issuer: string): IssuerMismatchError {
  return new IssuerMismatchError(
    `The client ${quote(id)} was registered at ${quote(registeredAt)}, and the MCP server now names ${quote(issuer)}.`,
    {
      hint: 'It was not used there. If it is registered at that one too: --client-id ID --client-issuer ISSUER',
    },
  );
}

function documentClient(url: string, redirectUri: string): ClientRegistration {
  return { clientId: url, authMethod: 'none', redirectUris: [redirectUri], source: 'metadata-document' };
}

/** Checks for an https URL with a path (draft-ietf-oauth-client-id-metadata-document section 3). */
function checkDocumentUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const good =
    url?.protocol === 'https:' &&
    url.pathname !== '/' &&
    url.username === '' &&
    url.hash === '' &&
    !/\/\.{1,2}(\/|$)/.test(text) &&
    text.length <= 2048;
  if (good) return text;
  throw new InvalidArgumentError(`${quote(text)} cannot be the URL of a client metadata document.`, {
    hint: 'It is an https URL with a path, such as https://example.com/holdfast/client-metadata.json',
  });
}

function registeredPorts(plan: ClientPlan): readonly number[] {
  if (plan.by !== 'known' || plan.client.source !== 'dynamic') return [];
  return plan.client.redirectUris
    .slice(0, 1)
    .map((uri) => Number(new URL(uri).port))
    .filter((port) => port > 0);
}

function byName(redirectUri: string): string {
  return redirectUri.replace('//127.0.0.1:', '//localhost:');
}
