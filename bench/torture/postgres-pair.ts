import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { postgresMigration } from '../../src/postgres.ts';
import {
  type Postgres,
  startPgBouncer,
  startPostgres,
  startReplica,
  startWire,
  type Wire,
} from '../../test/support/engines/postgres.ts';
import type { Served } from './engines.ts';

const SETTINGS = [
  // One sync for all files when it comes back from a crash, and not one each.
  "recovery_init_sync_method = 'syncfs'",
  // A replica whose link broke with a crash of the primary is there again before the next fault.
  "wal_retrieve_retry_interval = '200ms'",
  "wal_keep_size = '256MB'",
];

interface Replica {
  readonly name: string;
  readonly postgres: Postgres;
  /** What it hears of the primary comes over this. */
  readonly link: Wire;
}

/** PostgreSQL with a streaming replica; PgBouncer in transaction mode before whichever is the primary. */
export async function servePostgres(): Promise<Served> {
  const first = await startPostgres();
  first.configure(SETTINGS.join('\n'));
  await asking(first.url(), async (client) => {
    await client.query(postgresMigration());
    await client.query('SELECT pg_reload_conf()');
  });
  const front = await startWire(first.port);
  const bouncer = await startPgBouncer(first, front.port);
  const url = `postgres://owner@127.0.0.1:${front.port}/postgres`;
  let primary: Postgres = first;
  let name = 'data';
  let count = 0;
  let isClosed = false;
  const replicate = async (of: Postgres): Promise<Replica | undefined> => {
    const link = await startWire(of.port);
    const next = `replica-${(count += 1)}`;
    try {
      return { name: next, postgres: await startReplica(of, { name: next, through: link.port }), link };
    } catch {
      // The primary died meanwhile.
      await link.stop();
      await rm(join(first.directory, next), { recursive: true, force: true });
      return undefined;
    }
  };
  let replica = replicate(primary);
  return {
    url,
    front: Number(new URL(bouncer.url()).port),
    places: [first.directory],
    crash: () => primary.crash(),
    start: () => primary.start(),
    failOver: async (lagMs, lost, down) => {
      const to = await replica;
      if (isClosed || to === undefined || !(await isStreaming(primary))) {
        if (to === undefined && !isClosed) replica = replicate(primary);
        return false;
      }
      lost();
      to.link.silent = true;
      await new Promise((resolve) => setTimeout(resolve, lagMs));
      down();
      await primary.crash();
      // A receiver that waits on a silent link holds the promotion up.
      await to.link.stop();
      await asking(to.postgres.url(), (client) => client.query('SELECT pg_promote()'));
      front.to = to.postgres.port;
      front.cut();
      await rm(join(first.directory, name), { recursive: true, force: true });
      primary = to.postgres;
      name = to.name;
      replica = replicate(primary);
      return true;
    },
    setClock: (byMs) =>
      asking(url, async (client) => {
        const by = `interval '${byMs} milliseconds'`;
        await client.query(`UPDATE holdfast.records
          SET obtained_at = obtained_at - ${by}, written_at = written_at - ${by}, due_at = due_at - ${byMs}`);
        await client.query(`UPDATE holdfast.leases SET lease_until = lease_until - ${by},
          claimed_at = claimed_at - ${by}, abandoned_at = abandoned_at - ${by}`);
      }),
    close: async () => {
      isClosed = true;
      await bouncer.stop();
      await primary.crash();
      const last = await replica;
      await last?.postgres.crash();
      await last?.link.stop();
      await front.stop();
      // The first one’s directory holds all of them.
      await first.dispose();
    },
  };
}

async function asking(url: string, ask: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    await ask(client);
  } finally {
    await client.end().catch(() => {});
  }
}

async function isStreaming(primary: Postgres): Promise<boolean> {
  let found = false;
  await asking(primary.url(), async (client) => {
    const { rowCount } = await client.query(
      `SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND application_name = 'walreceiver'`,
    );
    found = rowCount === 1;
  }).catch(() => {});
  return found;
}
