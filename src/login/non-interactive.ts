import { resolve } from 'node:path';
import type {
  AssertionSource,
  AuthorizationServer,
  ClientRegistration,
  CredentialId,
  Grant,
} from '../credential.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import { InvalidArgumentError, ServerUnsupportedError } from '../errors.ts';
import type { RequestOptions } from '../http/request.ts';
import { quote } from '../quote.ts';
import { readAssertion, requestByGrant } from '../refresh/request-by-grant.ts';
import { defined } from '../values/defined.ts';
import { givenClient, planClient } from './client.ts';
import { credentialOf, discoverFor, dpopKeyFor, formerLogin } from './login.ts';
import { checkWritable, type LoginContext, saveLogin } from './save.ts';
import type { ClientOptions, GrantOptions, LoginOptions } from './types.ts';

/*
 * Logins without a user, and their renewal, which repeats the same request: with the client's own credentials, with a
 * token of the platform, or through an identity provider that vouches. Each request reads the assertion from its file
 * or variable again, because the platform renews it there. Nothing is retried, and no other grant takes its place.
 */

/**
 * Logs in by the grant, and saves the credential with everything that its renewal needs.
 *
 * @throws InvalidArgumentError for an unusable grant or client, before any token request
 * @throws OAuthError with a hint at what to check, and the errors of discovery, saving and the token request
 */
export async function logInNonInteractively(
  id: CredentialId,
  options: LoginOptions & { readonly grant: GrantOptions },
  context: LoginContext,
): Promise<StoredCredential> {
  const { interaction, signal, grant: wanted } = options;
  if (wanted.type !== 'client_credentials')
    await readAssertion(absoluteSource(wanted.assertion), wanted.type, context.environment);
  const former = await formerLogin(context.credentialStore, id);
  const given = options.client && givenClient(options.client, undefined);
  checkClient(given ?? former?.client, wanted);
  const wait = { signal, environment: context.environment };
  const grant = await grantOf(wanted, wait);

  const discovery = await discoverFor(id, options, context, false);
  await checkWritable(context, id, options);
  const plan = planClient(discovery, former, defined({ client: options.client }));
  const client = checkClient(plan.by === 'known' ? plan.client : undefined, wanted);
  const { scopesToAskFor } = await import('../oauth/discovery/scope-choice.ts');
  // The server may refuse to this grant the scopes that a user or another grant got.
  const isSameLogin = former?.server.issuer === discovery.server.issuer && former.grant?.type === grant.type;
  const requestedScope =
    scopesToAskFor(discovery, {
      scopes: options.scopes,
      stepUp: options.challenge !== undefined,
      formerScope: isSameLogin ? former.requestedScope : undefined,
      offlineAccess: false,
    }).join(' ') || undefined;
  const dpopKey = (await dpopKeyFor(discovery, options))?.secret;

  interaction?.progress?.('Fetching the tokens');
  const server = { ...discovery.server, reach: discovery.reach };
  const { resourceParameter } = discovery;
  const answer = await requestByGrant(
    { server, client, grant, resourceParameter, requestedScope, dpopKey },
    context.environment,
    wait,
  );
  return saveLogin(context, id, options, (generation) => ({
    ...credentialOf(id, discovery, answer, { generation, requestedScope, client }),
    grant,
    dpopKey,
  }));
}

/**
 * Accepts only a pre-registered client (MCP extension oauth-client-credentials): dynamic registration gives a program
 * no rights of its own. For `client_credentials`, the client must also authenticate (RFC 6749 section 4.4).
 */
function checkClient(client: ClientRegistration | undefined, { type }: GrantOptions): ClientRegistration {
  if (client?.source !== 'pre-registered') {
    throw new InvalidArgumentError(
      'A login without a person needs a client that was registered at the authorization server beforehand.',
      { hint: 'Name it: --client-id ID, with --client-secret-file FILE or --client-key-file FILE' },
    );
  }
  if (type === 'client_credentials' && client.authMethod === 'none') {
    throw new InvalidArgumentError(
      `The client ${quote(client.clientId)} has nothing to prove itself with, and its word is the grant (RFC 6749 section 4.4).`,
      { hint: 'Name what proves it: --client-key-file FILE, or --client-secret-file FILE' },
    );
  }
  return client;
}

/** Completes the grant for storage, so that no renewal has to look anything up. */
async function grantOf(wanted: GrantOptions, wait: RequestOptions): Promise<Grant> {
  if (wanted.type === 'client_credentials') return wanted;
  const assertion = absoluteSource(wanted.assertion);
  if (wanted.type === 'workload-identity') return { type: wanted.type, assertion };
  const { server, client } = await identityProviderOf(wanted.identityProvider, wanted.identityClient, wait);
  return { type: wanted.type, assertion, identityProvider: server, identityClient: client };
}

/** The user named the identity provider, so its metadata may be on any network. */
async function identityProviderOf(
  { issuer, tokenEndpoint }: { issuer: string; tokenEndpoint?: string | undefined },
  client: ClientOptions,
  wait: RequestOptions,
): Promise<{ server: AuthorizationServer; client: ClientRegistration }> {
  const { checkUrl } = await import('../http/safe-url.ts');
  const url = checkUrl(issuer);
  if (client.issuer !== undefined && client.issuer !== issuer) {
    throw new InvalidArgumentError(
      `The client ${quote(client.id)} is one of ${quote(client.issuer)}, not of the identity provider ${quote(issuer)}.`,
    );
  }
  if (tokenEndpoint !== undefined) {
    checkUrl(tokenEndpoint);
    return { server: { issuer, tokenEndpoint }, client: givenClient(client, undefined) };
  }
  const { serverMetadata } = await import('../oauth/discovery/server-metadata.ts');
  const found = await serverMetadata(issuer, url, { ...wait, browser: false });
  if (found === undefined) {
    throw new ServerUnsupportedError(`The identity provider ${quote(issuer)} publishes no metadata.`, {
      hint: 'Check its issuer: it is the "iss" of the ID tokens that it gives out, such as https://login.example.com',
    });
  }
  return {
    server: {
      issuer: found.issuer,
      tokenEndpoint: found.tokenEndpoint,
      signingAlgorithms: found.signingAlgorithms,
    },
    client: givenClient(client, found.tokenEndpointAuthMethods),
  };
}

/** Makes the path absolute, so that later processes find the file from any directory. */
function absoluteSource({ file, variable }: AssertionSource): AssertionSource {
  if ((file === undefined) === (variable === undefined)) {
    throw new InvalidArgumentError(
      'A token that is presented comes from a file or from a variable: name one.',
    );
  }
  return file === undefined ? { variable } : { file: resolve(file) };
}
