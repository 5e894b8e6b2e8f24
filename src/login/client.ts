import type { ClientAuthMethod, ClientRegistration, Credential } from '../credential.ts';
import { HoldfastError, InvalidArgumentError, IssuerMismatchError, OAuthError } from '../errors.ts';
import type { CallbackServer, CallbackServerOptions } from '../oauth/authorization/callback-server.ts';
import type { Discovery } from '../oauth/discovery/discovery.ts';
import { scopesToAskFor } from '../oauth/discovery/scope-choice.ts';
import { signingAlgorithmOf } from '../oauth/tokens/jwt.ts';
import { quote } from '../quote.ts';
import type { ClientOptions, LoginOptions } from './types.ts';

/*
 * As which client a login goes (MCP authorization, "Client Registration Approaches"): one that was registered beforehand;
 * else by the URL of our metadata document, where the server takes one; else by registering, once. Who has none of them is
 * told how to name one.
 */

/** The client, where it is known before there is a redirect URI. */
export type ClientPlan =
  | { readonly by: 'known'; readonly client: ClientRegistration }
  | { readonly by: 'document'; readonly url: string }
  | { readonly by: 'registration' };

/**
 * Decides; asks no server.
 *
 * @param former the credential that is there under that name, if it opens
 * @throws InvalidArgumentError for a client that cannot be used
 * @throws IssuerMismatchError for one that was registered at another authorization server
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
  // A document's URL is the same client everywhere, so the last one is good at another issuer too (SEP-991).
  const document =
    options.clientMetadataUrl ??
    (former?.client.source === 'metadata-document' ? former.client.clientId : undefined);
  if (document !== undefined && server.clientIdMetadataDocumentSupported) {
    return { by: 'document', url: checkDocumentUrl(document) };
  }
  if (known?.source === 'dynamic') return { by: 'known', client: known };
  return { by: 'registration' };
}

/** Opens the callback server where that client can be sent back to. */
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

/** The client with a redirect URI that its server takes; registers one where the plan says so, or its port was not to be had. */
export async function clientFor(
  plan: ClientPlan,
  redirectUri: string,
  discovery: Discovery,
  options: Pick<LoginOptions, 'interaction' | 'signal' | 'scopes'>,
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
  const limits = { signal: options.signal, scope: scopeToRegister(discovery, options), reach };
  try {
    return { client: await registerClient(server, redirectUri, limits), redirectUri };
  } catch (error) {
    if (!(error instanceof OAuthError) || error.error !== 'invalid_redirect_uri') throw error;
    // Some servers take the name of this machine and not its address, which RFC 8252 section 8.3 prefers.
    const named = byName(redirectUri);
    return { client: await registerClient(server, named, limits), redirectUri: named };
  }
}

/** The same for a login by a device code, which comes back to nowhere (RFC 8628). */
export async function deviceClientFor(
  plan: ClientPlan,
  discovery: Discovery,
  options: Pick<LoginOptions, 'interaction' | 'signal' | 'scopes'>,
): Promise<ClientRegistration> {
  const { server, reach } = discovery;
  if (
    plan.by === 'known' &&
    (plan.client.source === 'pre-registered' || plan.client.redirectUris.length === 0)
  ) {
    return plan.client;
  }
  // The document says that we come back by a redirect.
  if (plan.by === 'document' && server.registrationEndpoint === undefined) {
    return { clientId: plan.url, authMethod: 'none', redirectUris: [], source: 'metadata-document' };
  }
  options.interaction?.progress?.(`Registering with ${quote(server.issuer)}`);
  const { registerClient } = await import('../oauth/registration/registration.ts');
  return registerClient(server, undefined, {
    signal: options.signal,
    scope: scopeToRegister(discovery, options),
    reach,
  });
}

/** Scopes that were chosen are registered, for a server that gives a client no others; all that will be asked for. */
function scopeToRegister(discovery: Discovery, { scopes }: Pick<LoginOptions, 'scopes'>): string | undefined {
  return scopes && scopesToAskFor(discovery, { scopes }).join(' ');
}

/** A client that the caller, or the settings, named. */
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
  // A key that cannot sign is found out before anybody is asked.
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

/** Where the metadata is silent, `client_secret_basic` is what the server supports (RFC 8414 section 2). */
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
 * The client of an earlier login, if it is of use at this issuer. A registration belongs to the issuer that gave it, and to
 * no other (SEP-2352): one of our own is made anew, and one that a person made is not tried anywhere else.
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
  // A server that has refused the client itself has forgotten it.
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

/** An https URL with a path (draft-ietf-oauth-client-id-metadata-document section 3). */
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
