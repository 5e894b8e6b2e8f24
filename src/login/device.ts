import type { StoredCredential } from '../credentials/credential-store.ts';
import { awaitDeviceTokens, requestDeviceCode } from '../oauth/authorization/device.ts';
import { scopesToAskFor } from '../oauth/discovery/scope-choice.ts';
import type { Attempt } from './attempt.ts';
import { deviceClientFor } from './client.ts';
import { hostsOf } from './hosts.ts';

/** Logs in by the device authorization grant (RFC 8628): needs no browser here, and no redirect to this machine. */
export async function logInByDevice(attempt: Attempt): Promise<StoredCredential> {
  const { discovery, interaction, options, dpop, timeoutMs, environment } = attempt;
  const { signal } = options;
  const { resourceParameter } = discovery;
  const { deviceAuthorizationEndpoint = '' } = discovery.server;
  const server = { ...discovery.server, deviceAuthorizationEndpoint, reach: discovery.reach };
  const client = await deviceClientFor(attempt.plan, discovery, { ...options, environment });
  const scopes = scopesToAskFor(discovery, {
    scopes: options.scopes,
    stepUp: options.challenge !== undefined,
    formerScope: attempt.formerScope,
  });
  const requestedScope = scopes.length === 0 ? undefined : scopes.join(' ');
  const device = await requestDeviceCode(
    server,
    client,
    { scope: requestedScope, resourceParameter },
    { signal, environment },
  );
  await interaction.device?.({
    issuerHost: hostsOf(discovery, 'device').issuer,
    userCode: device.userCode,
    verificationUri: device.verificationUri,
    verificationUriComplete: device.verificationUriComplete,
    // The user has until the code expires or the login times out.
    expiresAt: Date.now() + Math.min(device.lifeMs, timeoutMs),
  });
  interaction.progress?.('Waiting for you to enter the code');
  const answer = await awaitDeviceTokens(
    server,
    client,
    device,
    { resourceParameter },
    { dpopKey: dpop?.secret, timeoutMs, signal, environment },
  );
  return attempt.save({ answer, client, requestedScope });
}
