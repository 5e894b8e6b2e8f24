import { StoreDeniedError, StoreUnsuitableError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { EngineFinding } from '../engine/engine.ts';
import type { PostgresAddress } from './address.ts';
import { POSTGRES_COMPATIBLE_VERSION, POSTGRES_SCHEMA_VERSION } from './schema.ts';

/* Checks a PostgreSQL server before it is trusted with a login. */

/** A larger difference between the clocks of this machine and of the engine is reported, in milliseconds. */
const SKEW_MS = 5000;

const MIGRATE = 'Run `holdfast store migrate`.';

/** A finding. For an error, `refused` tells whether the server refuses this role, or is unfit itself. */
export interface PostgresFinding extends EngineFinding {
  readonly refused?: true | undefined;
}

/**
 * Lists the findings about a server.
 *
 * @param row the answer to the statement `check`
 */
export function examinePostgres(
  row: Readonly<Record<string, unknown>>,
  { tenant, exposed, localNow }: { tenant: string; exposed: PostgresAddress['exposed']; localNow: number },
): PostgresFinding[] {
  const findings: PostgresFinding[] = [];
  const say = (level: EngineFinding['level'], message: string, hint?: string) =>
    findings.push({ level, message, ...(hint !== undefined && { hint }) });
  const refuse = (message: string, hint: string) =>
    findings.push({ level: 'error', message, hint, refused: true });
  const server = Number(row['server']);
  const version = `PostgreSQL ${Math.floor(server / 10_000)}.${server % 10_000}`;
  if (server < 120_000) say('error', `${version} is too old.`, 'Use PostgreSQL 12 or later.');
  else say('ok', `${version} answers.`);

  const schema = row['schema_version'] === null ? 0 : Number(row['schema_version']);
  if (schema < POSTGRES_SCHEMA_VERSION) {
    say(
      'error',
      `Its tables are of version ${schema}; this Holdfast needs ${POSTGRES_SCHEMA_VERSION}.`,
      MIGRATE,
    );
  } else if (Number(row['compatible_version']) > POSTGRES_COMPATIBLE_VERSION) {
    const message = `Its tables are of version ${schema}, made by a newer Holdfast; this one knows ${POSTGRES_SCHEMA_VERSION}.`;
    say('error', message, 'Update Holdfast on this machine.');
  }
  if (row['replica'] === true || row['read_only'] === 'on') {
    const what = row['replica'] === true ? 'It is a replica' : 'Its transactions are read only';
    say('error', `${what}: nothing can be written.`, 'Connect to the primary.');
  }
  const commit = quote(String(row['synchronous_commit']), 40).slice(1, -1);
  if (commit === 'off') {
    const message = 'synchronous_commit is off: a crash forgets refreshed tokens that it had acknowledged.';
    say('error', message, `ALTER ROLE … SET synchronous_commit = on, for the role that Holdfast uses.`);
  } else say('ok', `A write is durable when it is acknowledged (synchronous_commit = ${commit}).`);
  for (const setting of ['fsync', 'full_page_writes']) {
    if (row[setting] !== 'off') continue;
    say(
      'error',
      `${setting} is off: a crash may destroy the database.`,
      `Set ${setting} = on on the server.`,
    );
  }
  const role = quote(String(row['role']), 63);
  if (row['privileged'] !== true) {
    const message = `The role ${role} may not do with the tables what Holdfast does.`;
    refuse(message, 'Grant it the role that the migration made (`holdfast store migrate --print`).');
  }
  if (row['admitted'] !== true) {
    const message = `The role ${role} is not admitted to the tenant ${quote(tenant)}.`;
    refuse(message, 'As the owner of the tables, insert both into tenant_roles.');
  }
  const foreign = row['foreign_objects'];
  for (const what of typeof foreign === 'string' ? foreign.split('\n') : []) {
    if (what === '') continue;
    const message = `Another role has a hand in its tables, which belong to ${quote(String(row['owner']), 63)}: ${quote(what)}.`;
    refuse(message, 'Find out who made that, and drop it; then run `holdfast store migrate` as the owner.');
  }
  if (exposed !== undefined) {
    const message =
      exposed === 'plain'
        ? 'The way to it is not encrypted: who listens learns the password, or can alter what is written.'
        : 'The certificate of the server is not checked: who stands between learns the password, or can alter what is written.';
    const hint =
      exposed === 'plain'
        ? 'Add sslmode=verify-full to the URL.'
        : 'Set sslmode=verify-full in the URL; take away rejectUnauthorized: false and NODE_TLS_REJECT_UNAUTHORIZED.';
    say('warning', message, hint);
  }
  const skewMs = Math.round(localNow - Number(row['now']));
  if (Math.abs(skewMs) > SKEW_MS) {
    const message = `The clock of this machine is ${Math.abs(skewMs)} ms ${skewMs > 0 ? 'ahead of' : 'behind'} the engine's.`;
    say('warning', message, 'Holdfast goes by that of the engine; other programs may not.');
  }
  return findings;
}

/** @throws StoreDeniedError, StoreUnsuitableError for the first finding that is an error */
export function insistOn(findings: readonly PostgresFinding[], where: string): void {
  const worst = findings.find(({ level }) => level === 'error');
  if (worst === undefined) return;
  const Failure = worst.refused === true ? StoreDeniedError : StoreUnsuitableError;
  throw new Failure(
    `${where} cannot be used. ${worst.message}`,
    worst.hint === undefined ? {} : { hint: worst.hint },
  );
}
