import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { EngineFinding } from '../../src/store/engine/engine.ts';
import type { EngineStore } from '../../src/store/engine/engine-store.ts';
import { exposedBy, openPostgresStore } from '../../src/store/postgres/pool.ts';
import type { PostgresStoreOptions } from '../../src/store/postgres/store-options.ts';
import { openRedisStore } from '../../src/store/redis/open.ts';
import type { RedisStoreOptions } from '../../src/store/redis/store-options.ts';
import { command, userHome } from '../security/command.ts';
import { certificates, NO_OPENSSL, NO_POSTGRES, startPostgres } from '../support/engines/postgres.ts';
import { noRedis, redisServer } from '../support/engines/redis.ts';
import { temporaryDirectory } from '../support/homes/home.ts';

/*
 * Holdfast warns of TLS to an engine without a check of the certificate, for whatever reason. The servers are real, and
 * no certificate of theirs is trusted. They are at 0.0.0.0, which leads to this machine but does not count as local.
 */

const SAYS = 'certificate of the server is not checked';
const IGNORED = { NODE_TLS_REJECT_UNAUTHORIZED: '0' };

async function warnings(store: EngineStore): Promise<string> {
  onTestFinished(() => store.close());
  const findings: readonly EngineFinding[] = await (await store.engine()).examine();
  return findings
    .filter(({ level }) => level === 'warning')
    .map(({ message }) => message)
    .join('\n');
}

/** The output of `store status` and `doctor` under those variables. */
function told(holdfast: ReturnType<typeof command>) {
  return async (store: string, variables: Readonly<Record<string, string>>) => {
    const home = await userHome();
    const run = async (...args: string[]) => {
      const { out, err } = await holdfast.run(args, {
        home,
        variables: { HOLDFAST_STORE: store, ...variables },
      });
      return out + err;
    };
    return { status: await run('store', 'status'), doctor: await run('doctor') };
  };
}

describe.skipIf(noRedis ?? NO_OPENSSL)('TLS to Redis', () => {
  const holdfast = command();

  async function server() {
    const { ca, cert, key } = certificates(await temporaryDirectory());
    const settings = {
      port: '0',
      'tls-port': '{port}',
      'tls-cert-file': cert,
      'tls-key-file': key,
      'tls-auth-clients': 'no',
    };
    const { port } = await redisServer({ settings });
    return { url: `rediss://0.0.0.0:${port}/0`, port, ca: await readFile(ca) };
  }

  test('warns when the options or the environment turn the check of the certificate off', async () => {
    const { url, port, ca } = await server();
    const said = (options: RedisStoreOptions, variables = {}) =>
      warnings(openRedisStore(options, { variables }));
    expect(await said({ url, tls: { rejectUnauthorized: false } })).toContain(SAYS);
    const client = new Redis({ port, host: '0.0.0.0', tls: { rejectUnauthorized: false } });
    onTestFinished(() => client.disconnect());
    expect(await said({ client })).toContain(SAYS);
    const checked = { ca, rejectUnauthorized: true, checkServerIdentity: () => undefined };
    expect(await said({ url, tls: checked }, IGNORED)).not.toContain(SAYS);
  });

  test('store status and doctor warn under NODE_TLS_REJECT_UNAUTHORIZED=0', async () => {
    const { url } = await server();
    const { status, doctor } = await told(holdfast)(url, IGNORED);
    expect(status).toContain(SAYS);
    expect(doctor).toContain(SAYS);
  });
});

describe.skipIf(NO_POSTGRES ?? NO_OPENSSL)('TLS to PostgreSQL', () => {
  const holdfast = command();
  let postgres: Awaited<ReturnType<typeof startPostgres>>;
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
    postgres = await startPostgres({ tls: certificates(directory) });
    const store = openPostgresStore({ connectionString: postgres.url() });
    await (await store.engine()).migrate?.();
    await store.close();
  });
  afterAll(async () => {
    await postgres.dispose();
    await rm(directory, { recursive: true });
  });
  const at = (query: string) => postgres.url(query).replace('127.0.0.1', '0.0.0.0');

  test('store status and doctor warn under NODE_TLS_REJECT_UNAUTHORIZED=0', async () => {
    const { status, doctor } = await told(holdfast)(at('?sslmode=verify-full'), IGNORED);
    expect(status).toContain(SAYS);
    expect(doctor).toContain(SAYS);
  });

  test('store status and doctor warn when the options turn the check of the certificate off', async () => {
    const store = openPostgresStore(
      { connectionString: at(''), ssl: { rejectUnauthorized: false } },
      { variables: {} },
    );
    expect(await warnings(store)).toContain(SAYS);
  });
});

describe('what decides whether PostgreSQL’s certificate is checked', () => {
  test.each<[string, PostgresStoreOptions['ssl'], boolean, object, string | undefined]>([
    ['the options, without the environment', { rejectUnauthorized: true }, false, IGNORED, undefined],
    ['the environment, where the options do not say', {}, false, IGNORED, 'unchecked'],
    ['the environment, where the options are only true', true, false, IGNORED, 'unchecked'],
    ['the URL, where it speaks of TLS', { rejectUnauthorized: true }, true, {}, 'unchecked'],
    ['nothing else', true, false, {}, undefined],
  ])('%s', (_, ssl, saysTls, variables, expected) => {
    const address = { exposed: saysTls ? ('unchecked' as const) : ('plain' as const), saysTls };
    expect(exposedBy(ssl, address, { variables: { ...variables } })).toBe(expected);
  });
});
