import type { Credential, CredentialId } from '../credential.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import type { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import { HoldfastError, InvalidArgumentError, ServerUnsupportedError } from '../errors.ts';
import type { Discovery } from '../oauth/discovery/discovery.ts';
import type { TokenResponse } from '../oauth/tokens/token.ts';
import { quote } from '../quote.ts';
import type { Attempt } from './attempt.ts';
import { planClient } from './client.ts';
import { agreeOnHosts } from './hosts.ts';
import { checkWritable, type LoginContext, saveLogin } from './save.ts';
import type { LoginInteraction, LoginOptions } from './types.ts';

/*
 * One login by a user, from the URL to the sealed credential. It finds every predictable failure before it prompts the
 * user. It reports success only after the credential is stored.
 */

const DEFAULT_TIMEOUT_MS = 300_000;
const LONGEST_TIMEOUT_MS = 86_400_000;

export async function logIn(
  id: CredentialId,
  options: LoginOptions,
  context: LoginContext,
): Promise<StoredCredential> {
  const { interaction, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  if (!(timeoutMs > 0 && timeoutMs <= LONGEST_TIMEOUT_MS)) {
    throw new InvalidArgumentError(
      'The time for a login must be a positive number of milliseconds, a day at most.',
    );
  }
  if (interaction === undefined) {
    throw new InvalidArgumentError('A login needs a way to reach the person.', {
      hint: 'Give vault.login an interaction, or a grant that needs nobody.',
    });
  }
  const discovery = await discoverFor(id, options, context, options.flow !== 'device');
  const flow = flowOf(discovery, options, interaction);
  await checkWritable(context, id, options);
  const former = await formerLogin(context.credentialStore, id);
  // Do this before the new grant exists: some servers revoke every grant of a client together.
  if (former === undefined) await context.credentialStore.endRemoved(id);
  const dpop = await dpopKeyFor(discovery, options);
  const plan = planClient(discovery, former, options);
  const agreed = await agreeOnHosts(discovery, flow, options, context.report);
  const attempt: Attempt = {
    id,
    options,
    interaction,
    timeoutMs,
    discovery: agreed,
    plan,
    formerScope: former?.server.issuer === discovery.server.issuer ? former.requestedScope : undefined,
    dpop,
    environment: context.environment,
    report: context.report,
    save: ({ answer, client, requestedScope }) =>
      saveLogin(context, id, options, (generation) => ({
        ...credentialOf(id, agreed, answer, { generation, requestedScope, client }),
        dpopKey: dpop?.secret,
      })),
  };
  if (flow === 'device') return (await import('./device.ts')).logInByDevice(attempt);
  return (await import('./browser.ts')).logInByBrowser(attempt);
}

/**
 * Returns `device` if the caller asks for a device code and the server offers one; else `browser`, which also takes a
 * pasted redirect.
 */
function flowOf(
  { server }: Discovery,
  { flow: asked = 'browser' }: LoginOptions,
  interaction: LoginInteraction,
): 'browser' | 'device' {
  const offered = server.deviceAuthorizationEndpoint !== undefined && interaction.device !== undefined;
  if (asked === 'device' && !offered) {
    throw new ServerUnsupportedError(`${quote(server.issuer)} offers no device codes (RFC 8628).`, {
      hint: 'Log in with a browser on any machine, and paste what it shows: holdfast login URL --paste',
    });
  }
  return asked === 'browser' || !offered ? 'browser' : 'device';
}

/** Finds out how to log in, and reports each leniency that was needed. */
export async function discoverFor(
  { resource }: CredentialId,
  { interaction, signal, challenge, headers, lenient }: LoginOptions,
  { report, environment }: LoginContext,
  browser: boolean,
): Promise<Discovery> {
  const { discover } = await import('../oauth/discovery/discovery.ts');
  interaction?.progress?.(`Asking ${resource} how to log in`);
  const discovery = await discover(resource, { signal, challenge, headers, lenient, browser, environment });
  for (const { name, message } of discovery.leniencies) {
    report({ type: 'leniency', message: `${message} (lenient: ${name})` });
  }
  const { resourceParameter: published = resource } = discovery;
  if (withSlash(published) !== withSlash(resource)) {
    // RFC 9728 section 3.3 requires identical URLs. Many servers publish their origin, so Holdfast reports it and goes
    // on.
    interaction?.progress?.(`The tokens will be good for all of ${quote(published)}`);
  }
  return discovery;
}

function withSlash(url: string): string {
  const { href } = new URL(url);
  return href.endsWith('/') ? href : `${href}/`;
}

/** Builds the credential that every kind of login stores. */
export function credentialOf(
  id: CredentialId,
  discovery: Discovery,
  answer: TokenResponse,
  { generation, requestedScope, client }: Pick<Credential, 'generation' | 'requestedScope' | 'client'>,
): Credential {
  const { server, reach, leniencies } = discovery;
  return {
    resource: id.resource,
    account: id.account,
    resourceParameter: discovery.resourceParameter,
    generation,
    server: {
      issuer: server.issuer,
      tokenEndpoint: server.tokenEndpoint,
      revocationEndpoint: server.revocationEndpoint,
      reach,
      signingAlgorithms: client.authMethod === 'private_key_jwt' ? server.signingAlgorithms : undefined,
    },
    client,
    leniencies: leniencies.length === 0 ? undefined : leniencies.map((leniency) => leniency.name),
    tokens: answer.tokens,
    requestedScope,
    // RFC 6749 section 5.1: a response without scope grants the requested scope.
    grantedScope: answer.scope ?? requestedScope,
    loggedInAt: Date.now(),
  };
}

/** Generates a new key for each login whose tokens are to be bound to one. */
export async function dpopKeyFor({ dpopRequired }: Discovery, { dpop }: LoginOptions) {
  if (!(dpop ?? dpopRequired)) return undefined;
  const { dpopThumbprint, generateDpopKey } = await import('../oauth/tokens/dpop.ts');
  const secret = generateDpopKey();
  return { secret, thumbprint: dpopThumbprint(secret) };
}

/** Finds the stored login of that name, for its registration and scopes. */
export async function formerLogin(
  credentialStore: SealedCredentialStore,
  id: CredentialId,
): Promise<Credential | undefined> {
  try {
    return (await credentialStore.find(id))?.held.credential;
  } catch (error) {
    // A record that does not open is no help here; the login itself will replace or refuse it.
    if (error instanceof HoldfastError) return undefined;
    throw error;
  }
}
