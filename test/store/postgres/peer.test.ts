import { spawn } from 'node:child_process';
import { chmod, chown, mkdtemp, readFile, rm } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { StoreDeniedError } from '../../../src/errors.ts';
import type { EngineStore } from '../../../src/store/engine/engine-store.ts';
import { openPostgresStore } from '../../../src/store/postgres/pool.ts';
import { NO_POSTGRES, type Postgres, startPostgres } from '../../support/engines/postgres.ts';
import { bundled } from '../../support/homes/bundle.ts';
import { temporaryDirectory } from '../../support/homes/home.ts';
import { NOT_ROOT } from '../../support/keyrings/keyctl.ts';
import { start } from '../../support/processes/process.ts';

/*
 * PostgreSQL over its Unix socket, when the caller names the user who runs it. The right server is a real one. The
 * impostor is a program of another user that listens at a similar path and records its input.
 */

const ADDRESS = { kid: 'kid', id: 'id' };
const PASSWORD = 'a-password-for-one-server';
/** Debian's www-data, a user with a name who is neither root nor nobody. */
const IMPOSTOR = { uid: 33, name: 'www-data' };

function over(directory: string, port: number, query: string): string {
  return `postgres://owner:${PASSWORD}@localhost/postgres?host=${encodeURIComponent(directory)}&port=${port}${query}`;
}

async function refusal(store: EngineStore): Promise<unknown> {
  return store.read(ADDRESS).then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe.skipIf(NO_POSTGRES)('PostgreSQL over its Unix socket', () => {
  let postgres: Postgres;
  /** As root, the server of these tests runs as nobody. */
  const runner = process.geteuid?.() === 0 ? 'nobody' : userInfo().username;
  beforeAll(async () => {
    postgres = await startPostgres();
    const store = openPostgresStore({ connectionString: postgres.url() });
    await (await store.engine()).migrate?.();
    await store.close();
  });
  afterAll(() => postgres.dispose());

  test.each([
    ['without requirepeer', '', {}],
    ['with the name of its user in requirepeer', `&requirepeer=${runner}`, {}],
    ['with the name of its user in PGREQUIREPEER', '', { PGREQUIREPEER: runner }],
  ])('connects %s', async (_how, query, variables) => {
    const connectionString = over(postgres.directory, postgres.port, query);
    const store = openPostgresStore({ connectionString }, { variables });
    onTestFinished(() => store.close());
    expect(await store.read(ADDRESS)).toBeUndefined();
  });

  test.each([
    ['requirepeer in the URL', '&requirepeer=postgres', {}, {}],
    [
      'requirePeer among the options, which goes before the URL',
      `&requirepeer=${runner}`,
      { requirePeer: 'postgres' },
      {},
    ],
    ['PGREQUIREPEER', '', {}, { PGREQUIREPEER: 'postgres' }],
  ])(
    'refuses a server when %s names another user, and names both in the error',
    async (_how, query, options, variables) => {
      const connectionString = over(postgres.directory, postgres.port, query);
      const store = openPostgresStore({ ...options, connectionString }, { variables });
      onTestFinished(() => store.close());
      const error = await refusal(store);
      expect(error).toBeInstanceOf(StoreDeniedError);
      expect((error as Error).message).toMatch(
        /requirepeer asks that user "postgres" runs it, but user "\S+" \(\d+\) listens/,
      );
      expect((error as Error).message).toContain(`"${runner}"`);
    },
  );

  test('finds the socket when the URL has its directory in place of the host', async () => {
    const connectionString = `postgres://owner@${encodeURIComponent(postgres.directory)}:${postgres.port}/postgres?requirepeer=postgres`;
    const store = openPostgresStore({ connectionString });
    onTestFinished(() => store.close());
    expect(await refusal(store)).toBeInstanceOf(StoreDeniedError);
  });

  test('does not ask who runs a server that is reached over TCP, as libpq does not', async () => {
    const store = openPostgresStore({ connectionString: postgres.url('?requirepeer=postgres') });
    onTestFinished(() => store.close());
    expect(await store.read(ADDRESS)).toBeUndefined();
  });
});

describe.skipIf(NOT_ROOT)('a socket of another user in place of PostgreSQL', () => {
  /** Asks for a password as the server does, and records every byte it receives. */
  const LISTENER = `
    const [path, heard] = process.argv.slice(1);
    const { appendFileSync, writeFileSync } = require('node:fs');
    writeFileSync(heard, '');
    require('node:net').createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (bytes) => {
        appendFileSync(heard, bytes.toString('latin1'));
        socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]));
      });
      socket.on('close', () => console.log('closed'));
    }).listen(path, () => {
      require('node:fs').chmodSync(path, 0o777);
      console.log('listening');
    });`;

  async function impostor() {
    const directory = await mkdtemp('/tmp/holdfast-peer-');
    onTestFinished(() => rm(directory, { recursive: true, force: true }));
    await chown(directory, IMPOSTOR.uid, IMPOSTOR.uid);
    await chmod(directory, 0o755);
    const heard = join(directory, 'heard');
    const child = spawn(process.execPath, ['-e', LISTENER, join(directory, '.s.PGSQL.5432'), heard], {
      uid: IMPOSTOR.uid,
      gid: IMPOSTOR.uid,
      cwd: directory,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill());
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('listening');
    return { directory, heard: () => readFile(heard, 'latin1'), closed: () => lines.next() };
  }

  test.each([
    ['', ''],
    [' with TLS', '&sslmode=no-verify'],
  ])(
    'sends not a byte%s to an impostor when requirepeer names the user of the real server',
    async (_how, tls) => {
      const { directory, heard, closed } = await impostor();
      const store = openPostgresStore({
        connectionString: over(directory, 5432, `&requirepeer=postgres${tls}`),
      });
      onTestFinished(() => store.close());
      const error = await refusal(store);
      expect(error).toBeInstanceOf(StoreDeniedError);
      expect((error as Error).message).toContain(`user "${IMPOSTOR.name}" (${IMPOSTOR.uid})`);
      await closed();
      expect(await heard()).toBe('');
    },
  );

  test('sends an impostor the password without requirepeer, so the test above can see it', async () => {
    const { directory, heard, closed } = await impostor();
    const store = openPostgresStore({ connectionString: over(directory, 5432, ''), timeoutMs: 300 });
    onTestFinished(() => store.close());
    await refusal(store);
    await closed();
    expect(await heard()).toContain(PASSWORD);
  });

  test('holdfast store status refuses an impostor, and names both users', async () => {
    const { directory, heard, closed } = await impostor();
    const home = await temporaryDirectory();
    const cli = await bundled(home, 'holdfast', new URL('../../../src/cli/bin.ts', import.meta.url));
    const { code, out, err } = await start(process.execPath, [cli, 'store', 'status'], {
      HOME: home,
      HOLDFAST_STORE: over(directory, 5432, ''),
      PGREQUIREPEER: 'postgres',
    }).ended;
    expect(code).toBe(6);
    expect(out + err).toContain('user "postgres" runs it, but user "www-data" (33) listens');
    expect(out + err).not.toContain(PASSWORD);
    await closed();
    expect(await heard()).toBe('');
  });
});
