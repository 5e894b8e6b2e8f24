import type { Environment } from '../system/environment.ts';
import { dockerAgentLayoutOf } from '../system/files/paths.ts';
import { hasSecretService } from './key.ts';

/*
 * A desktop on which docker-agent would not find its own key, since that lies in the file keyring. To put it where
 * docker-agent looks first, a collection would have to be made there, with a passphrase of the person's; so it is only said.
 */

export const HIDDEN_KEY = {
  message:
    'docker-agent’s key lies in its file keyring, and this desktop has a Secret Service, where docker-agent looks first: it would find none there, make another one, and write its file anew without these logins.',
  hint: 'Before docker-agent runs here, move them into Holdfast’s own store: holdfast import docker-agent --store directory. Let docker-agent log in once; from then on --store docker-agent is safe.',
} as const;

/**
 * @param keyringId the keyring that docker-agent's key is in
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
