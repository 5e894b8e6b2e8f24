import { type Credential, isRenewable, type Reach } from '../credential.ts';
import type { LoginContext } from '../login/save.ts';
import type { ServerSettings } from '../login/server-settings.ts';

export interface ExternalContext extends LoginContext {
  readonly settings: (name: Pick<Credential, 'resource'>) => Promise<Pick<ServerSettings, 'lenient'>>;
}

/**
 * How far requests of a login from elsewhere may go: as far as the user allows for that server, else as its name
 * resolves.
 */
export async function reachOf(
  credential: Credential,
  { settings, environment }: ExternalContext,
): Promise<Reach> {
  // Holdfast never contacts the authorization server of an access token alone, so there is nothing to look up.
  if (!isRenewable(credential) || !URL.canParse(credential.resource)) return 'public';
  const { lenient } = await settings(credential);
  if (lenient?.privateAddresses === true) return 'anywhere';
  const { resolvedReach } = await import('../oauth/discovery/resolved-reach.ts');
  return resolvedReach(new URL(credential.resource), environment);
}
