import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { postgresStatements } from '../../src/store/postgres/statements.ts';
import { postgresProgram } from '../../test/support/engines/postgres.ts';

/*
 * The two statements of a refresh, sent by pgbench: the most that this PostgreSQL yields to any client. The records of
 * pgbench have their number as id, because its variables cannot be joined to a text. It writes the same version each
 * time, because it cannot remember one for each record. Its variables cannot be NULL, so NULL stands in its text.
 */

export interface PgbenchSettings {
  readonly port: number;
  /** Number of connections. */
  readonly clients: number;
  readonly seconds: number;
  /** Number of records, with the ids from 0. */
  readonly records: number;
  /** As long as a sealed record, in characters. */
  readonly record: string;
}

const VARIABLES = { tenant: 'default', kid: 'bench', version: 'filled', lease: 15_000, patience: 0, age: 0 };

/** Returns the number of refreshes per second. pgbench prepares each statement once per connection, in one thread. */
export async function pgbenchCycles(settings: PgbenchSettings): Promise<number> {
  const { port, clients, seconds, records, record } = settings;
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-pgbench-'));
  try {
    const script = join(directory, 'refresh.sql');
    await writeFile(script, scriptOf(Math.floor(records / clients)));
    const variables = { ...VARIABLES, record };
    const defined = Object.entries(variables).flatMap(([name, value]) => ['--define', `${name}=${value}`]);
    const load = ['--client', String(clients), '--jobs', '1', '--time', String(seconds)];
    const how = ['--no-vacuum', '--protocol', 'prepared', '--file', script];
    const server = ['-h', '127.0.0.1', '-p', String(port), '-U', 'owner', 'postgres'];
    const given = [...load, ...how, ...defined, ...server];
    const { stdout } = await promisify(execFile)(postgresProgram('pgbench'), given);
    const failed = /number of failed transactions: (\d+)/.exec(stdout)?.[1] ?? '0';
    const perSecond = Number(/^tps = ([\d.]+)/m.exec(stdout)?.[1]);
    if (failed !== '0' || !(perSecond > 0)) throw new Error(`pgbench failed: ${stdout}`);
    return perSecond;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Each client has its own share, so that none waits for another. An ungranted claim has no epoch, and its write fails. */
function scriptOf(share: number): string {
  const { claimVersion, replace } = postgresStatements('holdfast');
  const claim = [':tenant', ':id', ':holder', ':lease', ':patience', ':kid', ':version'];
  const write = [':tenant', ':id', ':kid', ':record', ':version', ':age', ':version', 'NULL'];
  const end = [':epoch', 'NULL', 'false', 'NULL', 'NULL', 'false'];
  return [
    `\\set id :client_id * ${share} + random(0, ${share - 1})`,
    '\\set holder random(1, 1000000000)',
    `${withValues(claimVersion, claim)} \\gset`,
    `${withValues(replace, [...write, ...end])};`,
    '',
  ].join('\n');
}

function withValues(statement: string, values: readonly string[]): string {
  return statement.replaceAll(/\$(\d+)/g, (_, position) => values[Number(position) - 1] ?? '');
}
