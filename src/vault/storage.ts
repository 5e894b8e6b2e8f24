import { openDockerAgent } from '../docker-agent/open.ts';
import { InvalidArgumentError } from '../errors.ts';
import type { KeyringOpener } from '../keyring/keyring.ts';
import { resolveKeyrings } from '../keyring/resolve.ts';
import { SealingKeys } from '../keyring/sealing-key.ts';
import { quote } from '../quote.ts';
import { DirectoryStore } from '../store/directory.ts';
import { EngineStore } from '../store/engine/engine-store.ts';
import type { RecordStore } from '../store/record-store.ts';
import type { Environment } from '../system/environment.ts';
import { type Layout, layoutOf } from '../system/files/paths.ts';
import type { EngineUrl, StoreName } from './types.ts';

/* Chooses the store for the records, and the keyrings. */

const SCHEMES = ['postgres', 'postgresql', 'redis', 'rediss'] as const;
const NAMES = ['directory', 'docker-agent'] as const;

function isEngineUrl(text: string): text is EngineUrl {
  return SCHEMES.some((scheme) => text.startsWith(`${scheme}://`));
}

/** The store that `HOLDFAST_STORE` chooses; else the directory. Throws what `storeNamed` throws. */
export function chosenStore({ variables }: Environment): StoreName {
  return storeNamed(variables['HOLDFAST_STORE'] || 'directory');
}

/** @throws InvalidArgumentError when no store has the name */
export function storeNamed(name: string): StoreName {
  const known = NAMES.find((one) => one === name);
  if (known !== undefined) return known;
  if (isEngineUrl(name)) return name;
  // A name that looks like a URL may contain a password.
  const shown = name.includes(':') ? 'of that URL' : quote(name, 40);
  throw new InvalidArgumentError(`There is no store ${shown}.`, {
    hint: `Choose one of: ${NAMES.join(', ')}, postgres://…, redis://…, rediss://…`,
  });
}

export interface StorageOptions {
  readonly store?: RecordStore | StoreName;
  readonly keyring?: string;
  readonly openers?: readonly KeyringOpener[];
  readonly dockerAgentDir?: string;
}

/**
 * Holdfast's own directory. If the records are elsewhere, it holds the settings and the answers that an engine did not
 * take; a process without a home directory works without it.
 *
 * @throws InvalidArgumentError when its path is not absolute
 */
export function homeOf(
  options: StorageOptions & { readonly home?: string },
  environment: Environment,
): Layout {
  const choice = options.store ?? chosenStore(environment);
  const isElsewhere = choice !== 'directory' && choice !== 'docker-agent';
  return layoutOf(environment, options.home, { orTemporary: isElsewhere });
}

/** @throws InvalidArgumentError for unusable options */
export function openParts(options: StorageOptions, environment: Environment, home: Layout) {
  const choice = options.store ?? chosenStore(environment);
  if (choice === 'docker-agent') {
    const theirs = openDockerAgent(environment, home, options);
    return { of: choice, ...theirs, resolve: () => theirs.resolution } as const;
  }
  const store =
    choice === 'directory'
      ? new DirectoryStore(home, environment)
      : typeof choice === 'string'
        ? engineStoreAt(choice, environment)
        : choice;
  /** Keys that a KMS wrapped are stored beside their records, because each machine with the records needs them. */
  const wrapped = async () =>
    new (await import('../credentials/sealed/store-wrapped-items.ts')).StoreWrappedItems(store);
  const { openers } = options;
  const resolve = (keyring: string | undefined) =>
    resolveKeyrings(environment, home, { keyring, openers, wrapped });
  const resolution = resolve(options.keyring);
  const keys = new SealingKeys(resolution, home, environment);
  return { of: 'own', layout: home, resolve, resolution, keys, store, persistent: store } as const;
}

/**
 * Makes the store for a URL. It loads the engine, and checks the URL closely, only on first use: commands that use
 * another store must not load the engine.
 *
 * @throws InvalidArgumentError when it is not a URL; on first use, for the parts that the engine cannot use
 */
function engineStoreAt(url: EngineUrl, environment: Environment): EngineStore {
  if (!URL.canParse(url)) {
    throw new InvalidArgumentError('The URL of the store cannot be read.', {
      hint: 'Characters such as @, / and # in a password must be percent-encoded; or leave it to PGPASSWORD or REDISCLI_AUTH.',
    });
  }
  const { protocol, host, searchParams } = new URL(url);
  return new EngineStore({
    id: `${protocol}//${host}`,
    tenant: searchParams.get('tenant') ?? 'default',
    load: async () => {
      if (protocol.startsWith('postgres')) {
        const { postgresEngine } = await import('../store/postgres/pool.ts');
        return postgresEngine({ connectionString: url }, environment).load();
      }
      const { redisEngine } = await import('../store/redis/open.ts');
      return redisEngine({ url }, environment).load();
    },
  });
}
