import { randomBytes } from 'node:crypto';
import { InvalidArgumentError, StoreUnsuitableError } from '../../errors.ts';
import { MAX_RECORD_BYTES } from '../../sealing.ts';
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
import { orderOfName, outboxOrder } from '../outbox-entry.ts';
import type { RecordAddress, RecordVersion, StoredRecord } from '../record-store.ts';
import type { RedisConnection } from './connection.ts';
import { RedisDues } from './dues.ts';
import { type GuardOptions, RedisGuard } from './guard.ts';
import { RedisScan } from './scan.ts';
import * as scripts from './scripts.ts';

/** Later than any time, but small enough for a script to add to one. In milliseconds. */
const FOREVER_MS = 1e15;

export interface RedisEngineOptions extends GuardOptions {
  readonly id: string;
  readonly tenant: string;
}

/**
 * Stores records in Redis or Valkey, alone or as a cluster: one hash per credential, `prefix:{tenant/id}`, which never
 * expires. The hash `prefix:aside:{tenant}` holds the quarantine.
 */
export class RedisEngine implements Engine {
  readonly id: string;
  readonly tenant: string;
  readonly #connection: RedisConnection;
  readonly #options: RedisEngineOptions;
  readonly #scan: RedisScan;
  readonly #guard: RedisGuard;
  readonly #dues: RedisDues;

  constructor(connection: RedisConnection, options: RedisEngineOptions) {
    this.id = options.id;
    this.tenant = options.tenant;
    this.#connection = connection;
    this.#options = options;
    this.#guard = new RedisGuard(connection, options);
    this.#scan = new RedisScan(connection, this.#key(''));
    this.#dues = new RedisDues(connection, this.#scan, {
      index: `${options.prefix}:due:{${options.tenant}}`,
      keyOf: (id) => this.#key(id),
    });
  }

  async read({ kid, id }: RecordAddress): Promise<StoredRecord | undefined> {
    const answer = await this.#ask(scripts.READ, this.#key(id), [kid]);
    if (answer === null) return undefined;
    const [record, version, age] = this.#texts(answer);
    if (record === undefined || version === undefined || age === undefined || version === '') {
      throw new StoreUnsuitableError(
        `What ${this.#connection.where} keeps as a record is none, or larger than one.`,
        {
          hint: `See what lies at the key ${this.#key(id)}.`,
        },
      );
    }
    return { record, version, ageMs: Math.max(0, Number(age)) };
  }

  /** The requests go out one after another on one connection, without waiting for each other's answers. */
  readMany(addresses: readonly RecordAddress[]): Promise<(StoredRecord | undefined)[]> {
    return Promise.all(addresses.map((address) => this.read(address)));
  }

  async version({ kid, id }: RecordAddress): Promise<RecordVersion | undefined> {
    const answer = await this.#ask(scripts.VERSION, this.#key(id), [kid]);
    return typeof answer === 'string' ? answer : undefined;
  }

  async write(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    write: EngineWrite,
  ): Promise<WriteAnswer> {
    const before = expected === undefined ? '-' : `=${expected}`;
    const steps = [address.kid, before, ...this.#content(write)];
    const answer = await this.#change(scripts.WRITE, this.#key(address.id), steps);
    if (answer.due !== undefined) this.#dues.note([address, answer.due]);
    return answer.written;
  }

  async remove(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    onlyIfLast?: number,
  ): Promise<WriteAnswer> {
    const before = expected === undefined ? '*' : `=${expected}`;
    const steps = [address.kid, before, textOf(onlyIfLast)];
    const { written } = await this.#change(scripts.REMOVE, this.#key(address.id), steps);
    if (written.outcome === 'written') this.#dues.note([address, undefined]);
    return written;
  }

  /** @throws InvalidArgumentError for two different ids, which may be on two machines */
  async move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    write: EngineWrite,
  ): Promise<WriteAnswer> {
    if (from.id !== to.id) {
      throw new InvalidArgumentError('In Redis a record moves from key to key, not from one id to another.', {
        hint: 'Write it anew, and remove the old one.',
      });
    }
    const steps = [from.kid, to.kid, `=${expected}`, ...this.#content(write)];
    const answer = await this.#change(scripts.MOVE, this.#key(from.id), steps);
    if (answer.due !== undefined) this.#dues.note([to, answer.due], [from, undefined]);
    return answer.written;
  }

  async list(): Promise<RecordAddress[]> {
    const found: RecordAddress[] = [];
    for await (const { id, answer } of this.#scan.run(scripts.FIELDS)) {
      for (const kid of kidsIn(this.#texts(answer))) found.push({ kid, id });
    }
    return found;
  }

  async kidsOf(id: string): Promise<string[]> {
    return kidsIn(this.#texts(await this.#ask(scripts.FIELDS, this.#key(id), [])));
  }

  due(withinMs: number, limit: number, after?: DueRecord): Promise<DueRecord[]> {
    return this.#dues.page(withinMs, limit, after);
  }

  async reschedule(address: RecordAddress, version: RecordVersion, dueInMs: number): Promise<boolean> {
    await this.#guard.admit();
    const steps = [address.kid, `=${version}`, dueText(dueInMs)];
    const due = await this.#ask(scripts.RESCHEDULE, this.#key(address.id), steps);
    if (typeof due !== 'string' || due === '') return false;
    this.#dues.note([address, Number(due)]);
    return true;
  }

  async claim({ id, name, holder, leaseMs, patienceMs, only }: ClaimRequest): Promise<ClaimAnswer> {
    await this.#guard.admit();
    const steps = [holder, name, wholeMs(leaseMs), wholeMs(patienceMs)];
    if (only !== undefined) steps.push(only.address.kid, `=${only.version}`);
    const answer = await this.#ask(scripts.CLAIM, this.#key(id), steps);
    const [outcome, epoch, now, after, note, run] = this.#texts(answer);
    if (outcome === 'held' || outcome === 'superseded') return { outcome };
    try {
      // Another server, which was not checked yet, may have taken over.
      await this.#guard.recognise(run);
      await this.#guard.settle();
    } catch (error) {
      await this.withdraw(id, name).catch(() => {});
      throw error;
    }
    return {
      outcome: 'claimed',
      epoch: Number(epoch),
      note: note || undefined,
      now: Number(now),
      abandonedAt: after ? Number(after) : undefined,
    };
  }

  async withdraw(id: string, name: string): Promise<void> {
    await this.#ask(scripts.WITHDRAW, this.#key(id), [name]);
  }

  async renew(
    id: string,
    epoch: number,
    leaseMs: number,
    sending = false,
    only?: NamedVersion,
  ): Promise<boolean> {
    const version = only === undefined ? [] : [only.address.kid, `=${only.version}`];
    const steps = [String(epoch), wholeMs(leaseMs), sending ? '1' : '0', ...version];
    return (await this.#ask(scripts.RENEW, this.#key(id), steps)) === '1';
  }

  async release(id: string, end: ClaimEnd): Promise<void> {
    await this.#ask(scripts.RELEASE, this.#key(id), endSteps(end));
  }

  async leased(id: string): Promise<boolean> {
    return (await this.#ask(scripts.LEASED, this.#key(id), [])) === '1';
  }

  async leasedAmong(ids: readonly string[]): Promise<readonly string[]> {
    const leased = await Promise.all(ids.map((id) => this.leased(id)));
    return ids.filter((_, at) => leased[at] === true);
  }

  onBroken(listener: () => void): void {
    this.#connection.onBroken(listener);
  }

  async putOutbox(id: string, entry: OutboxEntry): Promise<boolean> {
    outboxOrder(entry);
    await this.#guard.admit();
    const kept = await this.#ask(scripts.KEEP, this.#key(id), [entry.name, entry.kid, entry.record]);
    await this.#guard.settle();
    return kept === '1';
  }

  async listOutbox(id: string): Promise<StoredOutboxEntry[]> {
    const found = this.#texts(await this.#ask(scripts.KEPT, this.#key(id), []));
    const entries = found.flatMap((name, at) => {
      const [, writtenAt, kid, record] = /^(\d+) (\S+) (.*)$/s.exec(found[at + 1] ?? '') ?? [];
      const order = orderOfName(name);
      if (at % 2 === 1 || kid === undefined || record === undefined || order === undefined) return [];
      return [{ entry: { name, kid, record, writtenAt: Number(writtenAt) }, order }];
    });
    entries.sort(({ order: a }, { order: b }) => b.generation - a.generation || b.epoch - a.epoch);
    return entries.map(({ entry }) => entry);
  }

  async removeOutbox(id: string, names: readonly string[]): Promise<void> {
    await this.#ask(scripts.FORGET, this.#key(id), names);
  }

  async quarantine({ kid, id }: RecordAddress, record: string, why: 'damaged' | 'late'): Promise<string> {
    await this.#guard.admit();
    const field = `${why}/${kid}/${id}/${newName()}`;
    await this.#ask(scripts.ASIDE, this.#asideKey(), [field, this.#bounded(record)]);
    await this.#guard.settle();
    return `field ${field} of the hash ${this.#asideKey()}`;
  }

  async selfTest(): Promise<void> {
    const key = `${this.#options.prefix}:rehearsal:{${this.tenant}}`;
    const [kid, version, record] = [newName(), newName(), newName()];
    await this.#change(scripts.WRITE, key, [kid, '-', ...this.#content({ record, version, ageMs: 0 })]);
    const found = this.#texts(await this.#ask(scripts.READ, key, [kid]));
    const removed = await this.#change(scripts.REMOVE, key, [kid, `=${version}`, '']);
    if (removed.written.outcome === 'written' && found[0] === record) return;
    throw new StoreUnsuitableError(
      `${this.#connection.where} did not give back what was just written to it.`,
      {
        hint: 'See whether what answers there is one Redis server or cluster, and not a cache in front of several.',
      },
    );
  }

  examine(): Promise<readonly EngineFinding[]> {
    return this.#guard.examine();
  }

  async status(): Promise<EngineStatus> {
    const silent: number[] = [];
    let [records, claims, writtenLastHour] = [0, 0, 0];
    for await (const { answer } of this.#scan.run(scripts.SUMMARY)) {
      const [count, recent, open, over] = this.#texts(answer).map(Number);
      records += count ?? 0;
      writtenLastHour += recent ?? 0;
      claims += open ?? 0;
      if (open === 1 && over !== undefined && over > 0) silent.push(over);
    }
    const aside = this.#texts(await this.#ask(scripts.FIELDS, this.#asideKey(), []));
    const late = aside.filter((field) => field.startsWith('late/')).length;
    return {
      records,
      claims,
      oldestSilentMs: silent.length === 0 ? undefined : silent.reduce((a, b) => Math.max(a, b)),
      writtenLastHour,
      aside: { damaged: aside.length - late, late },
      now: await this.#connection.now(),
    };
  }

  async close(): Promise<void> {
    this.#guard.close();
    this.#connection.close();
  }

  #content(write: EngineWrite): string[] {
    const { record, version, ageMs, dueInMs, releases, onlyIfLast, onlyIfUnsentSince } = write;
    return [
      this.#bounded(record),
      version,
      wholeMs(ageMs),
      dueInMs === undefined ? '' : dueText(dueInMs),
      textOf(onlyIfUnsentSince ?? onlyIfLast),
      onlyIfUnsentSince === undefined ? '0' : '1',
      ...(releases === undefined ? [] : endSteps(releases)),
    ];
  }

  /** Runs a script whose change must be on the disk before it returns. */
  async #change(
    script: scripts.Script,
    key: string,
    steps: readonly string[],
  ): Promise<{ readonly written: WriteAnswer; readonly due?: number | undefined }> {
    await this.#guard.admit();
    const [outcome, ...more] = this.#texts(await this.#ask(script, key, steps));
    if (outcome === 'conflict') return { written: { outcome } };
    if (outcome === 'followed') {
      const [epoch, ageMs, open, sent] = more.map(Number);
      const last = { epoch: epoch ?? 0, ageMs: ageMs ?? 0, open: open === 1, mayHaveSent: sent !== 0 };
      return { written: { outcome, last } };
    }
    await this.#guard.settle();
    return { written: { outcome: 'written' }, due: more[0] === undefined ? undefined : Number(more[0]) };
  }

  async #ask(script: scripts.Script, key: string, steps: readonly string[]): Promise<unknown> {
    return this.#connection.call(script, key, steps);
  }

  #key(id: string): string {
    return `${this.#options.prefix}:{${this.tenant}/${id}}`;
  }

  #asideKey(): string {
    return `${this.#options.prefix}:aside:{${this.tenant}}`;
  }

  #bounded(record: string): string {
    if (Buffer.byteLength(record) <= MAX_RECORD_BYTES) return record;
    throw new InvalidArgumentError('The record is larger than any that Holdfast makes; it was not written.', {
      hint: `It may have ${MAX_RECORD_BYTES} bytes.`,
    });
  }

  #texts(answer: unknown): string[] {
    if (Array.isArray(answer)) return answer.map(String);
    throw new StoreUnsuitableError(`${this.#connection.where} answered what Redis would not.`, {
      hint: 'See whether it is Redis 5 or later, or Valkey.',
    });
  }
}

function kidsIn(fields: readonly string[]): string[] {
  return fields.flatMap((field) => (field.startsWith('r:') ? [field.slice(2)] : []));
}

function endSteps({ epoch, note, unsent = false }: ClaimEnd): string[] {
  return [String(epoch), unsent ? '1' : '0', ...(note === undefined ? [] : [note])];
}

function textOf(number: number | undefined): string {
  return number === undefined ? '' : String(number);
}

function dueText(dueInMs: number): string {
  return wholeMs(Math.max(-FOREVER_MS, Math.min(10 * FOREVER_MS, dueInMs)));
}

function newName(): string {
  return randomBytes(12).toString('base64url');
}

function wholeMs(ms: number): string {
  return String(Math.round(ms));
}
