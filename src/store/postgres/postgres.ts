import { randomBytes, randomUUID } from 'node:crypto';
import { HoldfastError, StoreUnsuitableError } from '../../errors.ts';
import type {
  ClaimAnswer,
  ClaimEnd,
  ClaimRequest,
  DueRecord,
  Engine,
  EngineFinding,
  EngineStatus,
  EngineWrite,
  NamedVersion,
  OutboxEntry,
  StoredOutboxEntry,
  WriteAnswer,
} from '../engine/engine.ts';
import { outboxOrder } from '../outbox-entry.ts';
import type { RecordAddress, RecordVersion, StoredRecord } from '../record-store.ts';
import type { PostgresAddress } from './address.ts';
import { examinePostgres, insistOn, type PostgresFinding } from './examination.ts';
import { grantOf, numberOf, type Row, recordOf, textOf } from './row.ts';
import { postgresMigration, postgresMigrationSteps } from './schema.ts';
import { StatementRunner, UndoneError } from './statement-runner.ts';
import { type PostgresStatements, postgresStatements } from './statements.ts';
import type { PostgresPool } from './store-options.ts';

export interface PostgresEngineOptions {
  readonly pool: PostgresPool;
  /** For people; no user, no password. */
  readonly id: string;
  readonly tenant: string;
  readonly schema: string;
  /** Time limit for one statement, in milliseconds; afterwards its connection is dropped. */
  readonly timeoutMs: number;
  /** The power of an attacker on the network. */
  readonly exposed: PostgresAddress['exposed'];
  /** Replaces every connection of the engine's own pool, because they may lead to a demoted server. */
  readonly renew?: (() => void) | undefined;
  /** Registers a listener for an idle connection that breaks. */
  readonly onBroken?: ((listener: () => void) => void) | undefined;
  /** Closes everything that was opened for this engine. */
  readonly end: () => Promise<void>;
}

/** Maximum number of looks at a record whose lease row is older. */
const TRIES = 3;

/** No claim has this epoch. */
const NO_EPOCH = -1;

/** Later than any time, but small enough for the server to add to one. In milliseconds. */
const FOREVER_MS = 1e15;

/** Stores sealed records in PostgreSQL 12 and later, directly or through PgBouncer in any mode. */
export class PostgresEngine implements Engine {
  readonly id: string;
  readonly tenant: string;
  readonly #options: PostgresEngineOptions;
  readonly #say: PostgresStatements;
  readonly #runner: StatementRunner;
  #sound: Promise<void> | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: PostgresEngineOptions) {
    this.id = options.id;
    this.tenant = options.tenant;
    this.#options = options;
    this.#say = postgresStatements(options.schema);
    const renew = () => {
      // The server is no longer the primary. Another one may be, and it must be checked first.
      this.#sound = undefined;
      options.renew?.();
    };
    this.#runner = new StatementRunner({ ...options, renew }, this.#say);
  }

  async read({ kid, id }: RecordAddress): Promise<StoredRecord | undefined> {
    const [row] = await this.#seen(this.#say.read, [this.tenant, id, kid]);
    return row && recordOf(row);
  }

  async readMany(addresses: readonly RecordAddress[]): Promise<(StoredRecord | undefined)[]> {
    const [ids, kids] = [addresses.map(({ id }) => id), addresses.map(({ kid }) => kid)];
    const rows = await this.#seen(this.#say.readMany, [this.tenant, ids, kids]);
    const found = new Map(rows.map((row) => [`${textOf(row, 'kid')}/${textOf(row, 'id')}`, recordOf(row)]));
    return addresses.map(({ kid, id }) => found.get(`${kid}/${id}`));
  }

  async version({ kid, id }: RecordAddress): Promise<RecordVersion | undefined> {
    const [row] = await this.#seen(this.#say.version, [this.tenant, id, kid]);
    return row && textOf(row, 'version');
  }

  async write(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    write: EngineWrite,
  ): Promise<WriteAnswer> {
    await this.#insist();
    const statement = expected === undefined ? this.#say.create : this.#say.replace;
    return this.#put(statement, address, write, [expected ?? null, null]);
  }

  async remove(
    { kid, id }: RecordAddress,
    expected: RecordVersion | undefined,
    onlyIfLast?: number,
  ): Promise<WriteAnswer> {
    await this.#insist();
    const values = [this.tenant, id, kid, expected ?? null, onlyIfLast ?? null];
    return (await this.#changed(this.#say.remove, values, id, onlyIfLast)) ?? { outcome: 'conflict' };
  }

  async move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    write: EngineWrite,
  ): Promise<WriteAnswer> {
    await this.#insist();
    if (from.id !== to.id) throw new TypeError('a record moves between keys, not between ids');
    return this.#put(this.#say.move, to, write, [expected, from.kid]);
  }

  async list(): Promise<RecordAddress[]> {
    const rows = await this.#seen(this.#say.list, [this.tenant]);
    return rows.map((row) => ({ kid: textOf(row, 'kid'), id: textOf(row, 'id') }));
  }

  async kidsOf(id: string): Promise<string[]> {
    return (await this.#seen(this.#say.kidsOf, [this.tenant, id])).map((row) => textOf(row, 'kid'));
  }

  async due(withinMs: number, limit: number, after?: DueRecord): Promise<DueRecord[]> {
    const page = [after?.dueAt ?? -1, after?.id ?? '', after?.kid ?? ''];
    const rows = await this.#seen(this.#say.due, [this.tenant, bounded(withinMs), limit, ...page]);
    return rows.map((row) => ({
      kid: textOf(row, 'kid'),
      id: textOf(row, 'id'),
      version: textOf(row, 'version'),
      dueAt: numberOf(row, 'due_at'),
    }));
  }

  async reschedule({ kid, id }: RecordAddress, version: RecordVersion, dueInMs: number): Promise<boolean> {
    const values = [this.tenant, id, kid, version, bounded(dueInMs)];
    return (await this.#run(this.#say.reschedule, values)).length > 0;
  }

  async claim({ id, name, holder, leaseMs, patienceMs, only }: ClaimRequest): Promise<ClaimAnswer> {
    await this.#insist();
    const values = [this.tenant, id, `${holder}#${name}`, leaseMs, patienceMs];
    if (only === undefined) return grantOf((await this.#run(this.#say.claim, values))[0]);
    const version = [only.address.kid, only.version];
    for (let tries = 1; ; tries += 1) {
      const [row] = await this.#run(this.#say.claimVersion, [...values, ...version]);
      if (row?.['granted'] !== null || row['current'] === true) return grantOf(row);
      if (row['there'] !== true || tries === TRIES) return { outcome: 'superseded' };
      await this.#run(this.#say.retell, [this.tenant, id, ...version]);
    }
  }

  async withdraw(id: string, name: string): Promise<void> {
    await this.#run(this.#say.withdraw, [this.tenant, id, name]);
  }

  async renew(
    id: string,
    epoch: number,
    leaseMs: number,
    sending = false,
    only?: NamedVersion,
  ): Promise<boolean> {
    const version = [only?.address.kid ?? null, only?.version ?? null];
    const values = [this.tenant, id, epoch, leaseMs, sending, ...version];
    return (await this.#run(this.#say.renew, values)).length > 0;
  }

  async release(id: string, { epoch, note, unsent = false }: ClaimEnd): Promise<void> {
    await this.#run(this.#say.release, [this.tenant, id, epoch, note ?? null, unsent]);
  }

  async leased(id: string): Promise<boolean> {
    return (await this.#seen(this.#say.leased, [this.tenant, id])).length > 0;
  }

  async leasedAmong(ids: readonly string[]): Promise<string[]> {
    const rows = await this.#seen(this.#say.leasedAmong, [this.tenant, [...ids]]);
    return rows.map((row) => textOf(row, 'id'));
  }

  onBroken(listener: () => void): void {
    this.#options.onBroken?.(listener);
  }

  async putOutbox(id: string, entry: OutboxEntry): Promise<boolean> {
    await this.#insist();
    const { generation, epoch } = outboxOrder(entry);
    const { name, kid, record } = entry;
    await this.#run(this.#say.putOutbox, [this.tenant, id, name, kid, record, generation, epoch]);
    const gone = await this.#run(this.#say.trimOutbox, [this.tenant, id]);
    return !gone.some((row) => row['name'] === name);
  }

  async listOutbox(id: string): Promise<StoredOutboxEntry[]> {
    return (await this.#seen(this.#say.listOutbox, [this.tenant, id])).map((row) => ({
      name: textOf(row, 'name'),
      kid: textOf(row, 'kid'),
      record: textOf(row, 'record'),
      writtenAt: numberOf(row, 'written_at'),
    }));
  }

  async removeOutbox(id: string, names: readonly string[]): Promise<void> {
    await this.#run(this.#say.removeOutbox, [this.tenant, id, [...names]]);
  }

  async quarantine({ kid, id }: RecordAddress, record: string, why: 'damaged' | 'late'): Promise<string> {
    const entry = randomUUID();
    await this.#run(this.#say.setAside, [entry, this.tenant, id, kid, why, record]);
    return `journal entry ${entry}`;
  }

  async selfTest(): Promise<void> {
    const address = { kid: 'rehearsal', id: `rehearsal-${randomUUID()}` };
    const record = randomBytes(1500).toString('base64url');
    await this.write(address, undefined, { record, version: randomUUID(), ageMs: 0 });
    const found = await this.read(address);
    await this.#run(this.#say.forgetRehearsal, [this.tenant, address.id]);
    if (found?.record === record) return;
    throw new StoreUnsuitableError(`${this.id} does not give back what was written to it.`, {
      hint: 'See whether reads go to a replica, or a pooler caches answers.',
    });
  }

  async examine(): Promise<readonly EngineFinding[]> {
    try {
      return await this.#examine();
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return [{ level: 'error', message: error.message, hint: error.hint }];
    }
  }

  async status(): Promise<EngineStatus> {
    const [row = {}] = await this.#run(this.#say.status, [this.tenant]);
    return {
      records: numberOf(row, 'records'),
      claims: numberOf(row, 'claims'),
      oldestSilentMs: row['oldest_silent_ms'] === null ? undefined : numberOf(row, 'oldest_silent_ms'),
      writtenLastHour: numberOf(row, 'written_last_hour'),
      aside: { damaged: numberOf(row, 'damaged'), late: numberOf(row, 'late') },
      now: numberOf(row, 'now'),
    };
  }

  /** Returns the SQL of `migrate`, for databases that only an administrator may change. */
  migration(): string {
    return postgresMigration(this.#options.schema);
  }

  /**
   * Updates the tables to the version that this Holdfast needs. Safe to repeat, and safe while other processes run.
   *
   * @throws StoreUnreachableError
   * @throws StoreDeniedError when this role may not migrate, or somebody else created objects in the schema
   */
  async migrate(): Promise<void> {
    for (const step of postgresMigrationSteps(this.#options.schema)) await this.#run(step, undefined);
    this.#sound = undefined;
  }

  close(): Promise<void> {
    this.#ended ??= this.#options.end();
    return this.#ended;
  }

  async #put(
    statement: string,
    address: RecordAddress,
    write: EngineWrite,
    before: readonly [string | null, string | null],
  ): Promise<WriteAnswer> {
    const { kid, id } = address;
    const { record, version, ageMs, dueInMs, releases, onlyIfLast, onlyIfUnsentSince } = write;
    const since = onlyIfUnsentSince ?? onlyIfLast;
    const end = [releases?.epoch ?? NO_EPOCH, releases?.note ?? null, releases?.unsent ?? false];
    const due = dueInMs === undefined ? null : bounded(dueInMs);
    const conditions = [since ?? null, due, onlyIfUnsentSince !== undefined];
    const values = [this.tenant, id, kid, record, version, ageMs, ...before, ...end, ...conditions];
    const answer = await this.#changed(statement, values, id, since);
    if (answer !== undefined) return answer;
    // An earlier try of the same write may have succeeded although its answer was lost.
    return { outcome: (await this.version(address)) === version ? 'written' : 'conflict' };
  }

  /** Returns `undefined` where the record has another version. */
  async #changed(
    statement: string,
    values: unknown[],
    id: string,
    since: number | undefined,
  ): Promise<WriteAnswer | undefined> {
    try {
      return (await this.#run(statement, values)).length > 0 ? { outcome: 'written' } : undefined;
    } catch (error) {
      if (!(error instanceof UndoneError)) throw error;
    }
    if (since === undefined) return undefined;
    const [later] = await this.#run(this.#say.later, [this.tenant, id, since]);
    if (later === undefined) return undefined;
    return {
      outcome: 'followed',
      last: {
        epoch: numberOf(later, 'epoch'),
        ageMs: numberOf(later, 'age_ms'),
        open: later['open'] === true,
        mayHaveSent: later['may_have_sent'] !== false,
      },
    };
  }

  async #examine(): Promise<PostgresFinding[]> {
    const [row = {}] = await this.#run(this.#say.check, [this.tenant]);
    if (row['replica'] === true || row['read_only'] === 'on') await this.#run(this.#say.writable, []);
    const { tenant } = this;
    return examinePostgres(row, { tenant, exposed: this.#options.exposed, localNow: Date.now() });
  }

  /** Checks the server once per process, until the check succeeds. */
  #insist(): Promise<void> {
    const sound = (this.#sound ??= this.#examine().then((findings) => insistOn(findings, this.id)));
    sound.catch(() => {
      if (this.#sound === sound) this.#sound = undefined;
    });
    return sound;
  }

  /** A role without access to the tenant finds no rows. So an empty result counts only after the check has passed. */
  async #seen(text: string, values: unknown[]): Promise<Row[]> {
    const rows = await this.#run(text, values);
    if (rows.length === 0) await this.#insist();
    return rows;
  }

  #run(text: string, values: unknown[] | undefined): Promise<Row[]> {
    return this.#runner.run(text, values);
  }
}

function bounded(ms: number): number {
  return Math.max(-FOREVER_MS, Math.min(FOREVER_MS * 10, ms));
}
