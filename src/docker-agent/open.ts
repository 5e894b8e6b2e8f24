import { resolveKeyrings } from '../keyring/resolve.ts';
import { SealingKeys } from '../keyring/sealing-key.ts';
import type { Environment } from '../system/environment.ts';
import { dockerAgentLayoutOf, type Layout } from '../system/files/paths.ts';
import { DockerAgentStore } from './docker-agent-store.ts';
import { hasBundle, underLock } from './files.ts';
import { dockerAgentOpeners } from './key.ts';
import { DockerAgentRecords } from './records.ts';

/* The vault over docker-agent's own files: its key is the sealing key, its bundle is the store. */

/**
 * Opens the keyrings, keys and store of docker-agent's files.
 *
 * @param layout of Holdfast's own home, for its settings
 * @param options.dockerAgentDir docker-agent's configuration directory. Default `~/.config/cagent`
 * @throws InvalidArgumentError when that is not an absolute path, or no keyring has the chosen name
 */
export function openDockerAgent(
  environment: Environment,
  layout: Layout,
  options: { keyring?: string | undefined; dockerAgentDir?: string | undefined },
) {
  const files = dockerAgentLayoutOf(environment, options.dockerAgentDir);
  const openers = dockerAgentOpeners(environment, files.layout, {
    isSealed: () => hasBundle(files),
    locked: (step) => underLock(files, environment, step),
  });
  const resolution = resolveKeyrings(environment, layout, { keyring: options.keyring, openers });
  const keys = new SealingKeys(resolution, files.layout, environment);
  const store = new DockerAgentStore({ files, environment, keys, resolution });
  const persistent = new DockerAgentRecords(store);
  return { files, layout: files.layout, openers, resolution, keys, store, persistent };
}
