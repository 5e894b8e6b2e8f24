import { InvalidArgumentError } from '../errors.ts';
import { EngineStore } from '../store/engine/engine-store.ts';
import type { Environment } from '../system/environment.ts';

const SCHEMES = ['postgres', 'postgresql', 'redis', 'rediss'] as const;

/** The URL of an engine that many machines share. */
export type EngineUrl = `${(typeof SCHEMES)[number]}://${string}`;

export function isEngineUrl(text: string): text is EngineUrl {
  return SCHEMES.some((scheme) => text.startsWith(`${scheme}://`));
}

/**
 * Makes the store for a URL. It loads the engine, and checks the URL closely, only on first use: commands that use
 * another store must not load the engine.
 *
 * @throws InvalidArgumentError when it is not a URL; on first use, for the parts that the engine cannot use
 */
export function engineStoreAt(url: EngineUrl, environment: Environment): EngineStore {
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
