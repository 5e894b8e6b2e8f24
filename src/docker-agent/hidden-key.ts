import type { Environment } from '../system/environment.ts';
import { dockerAgentLayoutOf } from '../system/files/paths.ts';
import { hasSecretService } from './key.ts';

/*
 * Warns about a desktop where docker-agent would not find its own key, because the key is in the file keyring. Holdfast
 * cannot move the key to the Secret Service: that needs a new collection with a passphrase of the user's.
 */

export const HIDDEN_KEY = {
  message:
    'docker-agent’s key lies in its file keyring, and this desktop has a Secret Service, where docker-agent looks first: it would find none there, make another one, and write its file anew without these logins.',
  hint: 'Before docker-agent runs here, move them into Holdfast’s own store: holdfast import docker-agent --store directory. Let docker-agent log in once; from then on --store docker-agent is safe.',
} as const;

/**
 * Whether docker-agent on this desktop would miss its own key.
 *
 * @param keyringId the keyring that holds docker-agent's key
 * @param dockerAgentDir as for `openDockerAgent`
 */
export async function isKeyHidden(
  environment: Environment,
  keyringId: string,
  dockerAgentDir: string | undefined,
): Promise<boolean> {
  if (keyringId !== 'file') return false;
  return hasSecretService(environment, dockerAgentLayoutOf(environment, dockerAgentDir).layout);
}
