import { InvalidArgumentError } from '../errors.ts';
import { dockerAgentOpeners } from '../keyring/docker-agent.ts';
import { resolveKeyrings } from '../keyring/open.ts';
import { SealingKeys } from '../keyring/sealing-key.ts';
import { quote } from '../quote.ts';
import { DockerAgentStore } from '../store/docker-agent.ts';
import { hasBundle, underLock } from '../store/docker-agent-files.ts';
import type { Store } from '../store/store.ts';
import type { Environment } from '../system/environment.ts';
import { dockerAgentLayoutOf, type Layout } from '../system/paths.ts';

/* The vault over docker-agent's own files: its key is the sealing key, its bundle the store. */

const STORES = ['directory', 'docker-agent'] as const;
export type StoreName = (typeof STORES)[number];

/** The store that was chosen: by the option, else by `HOLDFAST_STORE`; else the directory. Throws what `storeNamed` throws. */
export function chosenStore(
  store: Store | StoreName | undefined,
  { variables }: Environment,
): Store | StoreName {
  return store ?? storeNamed(variables['HOLDFAST_STORE'] || 'directory');
}

/** @throws InvalidArgumentError when no store has the name */
export function storeNamed(name: string): StoreName {
  const known = STORES.find((one) => one === name);
  if (known !== undefined) return known;
  throw new InvalidArgumentError(`There is no store ${quote(name, 40)}.`, {
    hint: `Choose one of: ${STORES.join(', ')}`,
  });
}

/**
 * @param layout of Holdfast's own home, for its settings
 * @param options.dockerAgentDir docker-agent's configuration directory, where it is another than `~/.config/cagent`
 * @throws InvalidArgumentError when that is not an absolute path, or no keyring has the name that was chosen
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
  return { layout: files.layout, openers, resolution, keys, store };
}
