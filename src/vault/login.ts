import type { ClientRegistration, Credential } from '../credential.ts';
import {
  HoldfastError,
  InvalidArgumentError,
  KeyringAbsentError,
  LoginDeniedError,
  StorageUnreadableError,
  StorageUnsafeError,
  StorageUnwritableError,
} from '../errors.ts';
import type { KeyringResolution } from '../keyring/open.ts';
import type { SealingKey, SealingKeys } from '../keyring/sealing-key.ts';
import type { AuthorizationRequest } from '../oauth/authorization.ts';
import type { Callback, CallbackServer, CallbackServerOptions } from '../oauth/callback-server.ts';
import type { Discovery } from '../oauth/discovery.ts';
import type { Custody, Found, Held, Name } from './custody.ts';
import type { LoginOptions, VaultEvent } from './results.ts';

/*
 * One login, from the URL to the sealed credential. Whatever can be known to fail is found out before the person is
 * asked anything; the browser hears of success only after the credential is stored.
 */

const DEFAULT_TIMEOUT_MS = 300_000;
const LONGEST_TIMEOUT_MS = 86_400_000;

export interface LoginPlace {
  readonly custody: Custody;
  readonly keys: SealingKeys;
  readonly resolution: KeyringResolution;
  readonly report: (event: VaultEvent) => void;
}

export async function logIn(name: Name, options: LoginOptions, place: LoginPlace): Promise<Held> {
  const { interaction, signal } = options;
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  if (!(timeoutMs > 0 && timeoutMs <= LONGEST_TIMEOUT_MS)) {
    throw new InvalidArgumentError(
      'The time for a login must be a positive number of milliseconds, a day at most.',
    );
  }
  const [
    { discover },
    { openCallbackServer },
    { belongsTo, createAuthorizationRequest, readAuthorizationResponse },
  ] = await Promise.all([
    import('../oauth/discovery.ts'),
    import('../oauth/callback-server.ts'),
    import('../oauth/authorization.ts'),
  ]);

  interaction.progress?.(`Asking ${name.resource} how to log in`);
  const discovery = await discover(name.resource, { signal });
  await prepareKeeping(place, name, options);
  const before = await formerClient(place.custody, name, discovery);

  let request: AuthorizationRequest | undefined;
  const server = await openServer(
    openCallbackServer,
    options,
    before,
    (parameters) => request !== undefined && belongsTo(request, parameters),
  );
  try {
    const client = await clientFor(server, discovery, before, options);
    request = await createAuthorizationRequest(discovery, client, server.redirectUri, {
      scopes: options.scopes,
    });
    const redirect = server.next({ timeoutMs, signal });
    // Whoever shows the URL may fail first; the wait for the redirect then ends with the server, unheard.
    redirect.catch(() => {});
    interaction.progress?.('Waiting for you to log in with the browser');
    // The redirect may come while whoever shows the URL is still at it, and then nobody waits for them.
    const shown = interaction.authorize(request.url);
    const callback = await Promise.race([redirect, shown.then(() => redirect)]);
    try {
      const code = readAuthorizationResponse(request, callback.parameters);
      interaction.progress?.('Fetching the tokens');
      const { exchangeCode } = await import('../oauth/token.ts');
      const answer = await exchangeCode(
        discovery.server,
        client,
        {
          code,
          codeVerifier: request.codeVerifier,
          redirectUri: server.redirectUri,
          resourceParameter: discovery.resourceParameter,
        },
        // The code is used up by the first try, so the caller's signal no longer ends it.
        {},
      );
      const held = await keep(place, name, options, (generation) => ({
        resource: name.resource,
        account: name.account,
        resourceParameter: discovery.resourceParameter,
        generation,
        server: {
          issuer: discovery.server.issuer,
          tokenEndpoint: discovery.server.tokenEndpoint,
          revocationEndpoint: discovery.server.revocationEndpoint,
        },
        client,
        tokens: answer.tokens,
        requestedScope: request?.requestedScope,
        // RFC 6749 section 5.1: no scope in the answer means that what was asked for was granted.
        grantedScope: answer.scope ?? request?.requestedScope,
        loggedInAt: Date.now(),
      }));
      await callback.succeed({ resource: name.resource, account: name.account });
      return held;
    } catch (error) {
      await showFailure(callback, name, error);
      throw error;
    }
  } finally {
    await server.close();
  }
}

/** Finds the keyring that will serve, and whether a record can be written, while nothing has been asked yet. */
async function prepareKeeping(place: LoginPlace, name: Name, options: LoginOptions): Promise<void> {
  const { custody, keys, resolution } = place;
  // Reading shows which keyrings work; it creates nothing.
  const found = new Map<string, SealingKey>();
  for await (const key of keys.reachable()) found.set(key.keyringId, key);
  for await (const { keyring, lifetime } of resolution.usable()) {
    if (lifetime === 'process') allowMemory(place, options);
    const key = found.get(keyring.id);
    if (key !== undefined) await custody.checkReplaceable(key, name);
    await custody.rehearse(lifetime);
    return;
  }
  throw new KeyringAbsentError('No keyring at all can be used here.', { hint: 'See: holdfast doctor' });
}

/** Says that nothing will last; throws where it must. */
function allowMemory({ keys, report }: LoginPlace, { mustLast }: LoginOptions): void {
  const message = 'No keyring here can keep a login: nothing would survive this process.';
  const reasons = keys.problems().map((problem) => problem.message);
  if (mustLast === true) {
    // Where it is the directory that is wrong, that is what the person can mend.
    const storage = keys
      .problems()
      .find(
        ({ cause }) =>
          cause instanceof StorageUnsafeError ||
          cause instanceof StorageUnwritableError ||
          cause instanceof StorageUnreadableError,
      )?.cause;
    if (storage !== undefined) throw storage;
    throw new KeyringAbsentError([message, ...reasons].join(' '), {
      hint: 'holdfast doctor says what each keyring lacks. To log in all the same, until this process ends: --allow-memory',
    });
  }
  report({ type: 'memory-only', message, hint: reasons.join(' ') || undefined });
}

async function keep(
  place: LoginPlace,
  name: Name,
  options: LoginOptions,
  make: (generation: number) => Credential,
): Promise<Held> {
  const { custody, keys, report } = place;
  const expected = keys.problems().length;
  const key = await keys.strongest();
  // A keyring that could be read may still have refused the new key, and the next one may be memory.
  if (key.lifetime === 'process' && keys.problems().length > expected) allowMemory(place, options);
  const { held, quarantined } = await custody.keep(key, name, make);
  if (quarantined !== undefined) {
    report({
      type: 'quarantined',
      message: `The record that was there did not open. It was moved to ${quarantined}.`,
    });
  }
  return held;
}

/** The registration of an earlier login at the same issuer: registering anew each time only fills the server. */
async function formerClient(
  custody: Custody,
  name: Name,
  discovery: Discovery,
): Promise<ClientRegistration | undefined> {
  let found: Found | undefined;
  try {
    found = await custody.find(name);
  } catch (error) {
    // What does not open holds no registration; the login itself will replace or refuse it.
    if (error instanceof HoldfastError) return undefined;
    throw error;
  }
  if (found === undefined) return undefined;
  const { client, server, loginRequired } = found.held.credential;
  const lapsed = client.clientSecretExpiresAt !== undefined && client.clientSecretExpiresAt <= Date.now();
  // A registration belongs to the issuer that gave it, and to no other (MCP authorization, "Authorization Server
  // Binding"); a server that has refused the client itself has forgotten it.
  const forgotten = loginRequired?.error === 'invalid_client';
  return server.issuer === discovery.server.issuer && !lapsed && !forgotten ? client : undefined;
}

/** On the port that the former registration names, when that is free and nobody asked for another. */
async function openServer(
  open: (options: CallbackServerOptions) => Promise<CallbackServer>,
  options: LoginOptions,
  before: ClientRegistration | undefined,
  belongs: CallbackServerOptions['belongs'],
): Promise<CallbackServer> {
  if (options.callbackPort !== undefined) return open({ port: options.callbackPort, belongs });
  const registered = before?.redirectUris[0];
  const port = registered === undefined ? 0 : Number(new URL(registered).port);
  if (port > 0) {
    try {
      return await open({ port, belongs });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
  return open({ belongs });
}

async function clientFor(
  { redirectUri }: CallbackServer,
  discovery: Discovery,
  before: ClientRegistration | undefined,
  { interaction, signal, scopes }: LoginOptions,
): Promise<ClientRegistration> {
  if (before?.redirectUris.includes(redirectUri)) return before;
  interaction.progress?.(`Registering with ${discovery.server.issuer}`);
  const { registerClient } = await import('../oauth/registration.ts');
  return registerClient(discovery.server, redirectUri, { signal, scope: scopes?.join(' ') });
}

/** The page says no more than it must: what a server wrote is for the terminal, where it is quoted. */
async function showFailure(callback: Callback, name: Name, error: unknown): Promise<void> {
  const denied = error instanceof LoginDeniedError;
  await callback
    .fail({
      title: denied ? 'Access was refused' : 'The login did not succeed',
      text: [
        denied
          ? 'The authorization server says that access was not granted. Nothing was stored.'
          : 'Nothing was stored. The terminal says what went wrong.',
        'You can close this tab and go back to the terminal.',
      ],
      login: name,
    })
    .catch(() => {
      // The browser is gone; the terminal tells it all the same.
    });
}
