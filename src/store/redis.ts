import { randomBytes } from 'node:crypto';
import { InvalidArgumentError, StoreUnsuitableError } from '../errors.ts';
import { MAX_RECORD_BYTES } from '../sealing.ts';
import type {
  ClaimAnswer,
  ClaimRequest,
  Engine,
  EngineFinding,
  EngineStatus,
  EngineWrite,
} from './engine.ts';
import type { RedisConnection } from './redis-connection.ts';
import { type GuardOptions, RedisGuard } from './redis-guard.ts';
import { RedisScan } from './redis-scan.ts';
import * as scripts from './redis-scripts.ts';
import type { RecordAddress, RecordVersion, StoredRecord } from './store.ts';

export interface RedisEngineOptions extends GuardOptions {
  readonly id: string;
  readonly tenant: string;
}

/**
 * Records in Redis or Valkey, alone or as a cluster: one hash for each credential, `prefix:{tenant/id}`, which never expires.
 * What is set aside lies in `prefix:aside:{tenant}`.
 */
export class RedisEngine implements Engine {
  readonly id: string;
  readonly tenant: string;
  readonly #connection: RedisConnection;
  readonly #options: RedisEngineOptions;
  readonly #scan: RedisScan;
  readonly #guard: RedisGuard;

  constructor(connection: RedisConnection, options: RedisEngineOptions) {
    this.id = options.id;
    this.tenant = options.tenant;
    this.#connection = connection;
    this.#options = options;
    this.#guard = new RedisGuard(connection, options);
    this.#scan = new RedisScan(connection, this.#key(''));
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

  async version({ kid, id }: RecordAddress): Promise<RecordVersion | undefined> {
    const answer = await this.#ask(scripts.VERSION, this.#key(id), [kid]);
    return typeof answer === 'string' ? answer : undefined;
  }

  write(address: RecordAddress, expected: RecordVersion | undefined, write: EngineWrite): Promise<boolean> {
    return this.#write(this.#key(address.id), address.kid, expected, write);
  }

  async remove({ kid, id }: RecordAddress, expected: RecordVersion | undefined): Promise<boolean> {
    return this.#change(scripts.REMOVE, this.#key(id), [kid, expected === undefined ? '*' : `=${expected}`]);
  }

  /** @throws InvalidArgumentError for two different ids, which may lie on two machines */
  async move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    { record, version, ageMs }: EngineWrite,
  ): Promise<boolean> {
    if (from.id !== to.id) {
      throw new InvalidArgumentError('In Redis a record moves from key to key, not from one id to another.', {
        hint: 'Write it anew, and remove the old one.',
      });
    }
    const steps = [from.kid, to.kid, `=${expected}`, this.#bounded(record), version, wholeMs(ageMs)];
    return this.#change(scripts.MOVE, this.#key(from.id), steps);
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

  async claim({ id, holder, leaseMs, patienceMs, only }: ClaimRequest): Promise<ClaimAnswer> {
    await this.#guard.admit();
    const steps = [holder, newName(), wholeMs(leaseMs), wholeMs(patienceMs)];
    if (only !== undefined) steps.push(only.address.kid, `=${only.version}`);
    const [outcome, epoch, now, after, note] = this.#texts(
      await this.#ask(scripts.CLAIM, this.#key(id), steps),
    );
    if (outcome === 'held' || outcome === 'superseded') return { outcome };
    await this.#guard.settle();
    return {
      outcome: 'claimed',
      epoch: Number(epoch),
      note: note || undefined,
      now: Number(now),
      abandonedAt: after ? Number(after) : undefined,
    };
  }

  async renew(id: string, epoch: number, leaseMs: number): Promise<boolean> {
    return (await this.#ask(scripts.RENEW, this.#key(id), [String(epoch), wholeMs(leaseMs)])) === '1';
  }

  async release(id: string, epoch: number, note: string | undefined): Promise<void> {
    await this.#ask(
      scripts.RELEASE,
      this.#key(id),
      note === undefined ? [String(epoch)] : [String(epoch), note],
    );
  }

  async leased(id: string): Promise<boolean> {
    return (await this.#ask(scripts.LEASED, this.#key(id), [])) === '1';
  }

  async setAside({ kid, id }: RecordAddress, record: string, why: 'damaged' | 'late'): Promise<string> {
    await this.#guard.admit();
    const field = `${why}/${kid}/${id}/${newName()}`;
    await this.#ask(scripts.ASIDE, this.#asideKey(), [field, this.#bounded(record)]);
    await this.#guard.settle();
    return `field ${field} of the hash ${this.#asideKey()}`;
  }

  async rehearse(): Promise<void> {
    const key = `${this.#options.prefix}:rehearsal:{${this.tenant}}`;
    const [kid, version, record] = [newName(), newName(), newName()];
    await this.#write(key, kid, undefined, { record, version, ageMs: 0 });
    const found = this.#texts(await this.#ask(scripts.READ, key, [kid]));
    const removed = await this.#change(scripts.REMOVE, key, [kid, `=${version}`]);
    if (removed && found[0] === record) return;
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

  async #write(
    key: string,
    kid: string,
    expected: RecordVersion | undefined,
    { record, version, ageMs, releases }: EngineWrite,
  ): Promise<boolean> {
    const steps = [
      kid,
      expected === undefined ? '-' : `=${expected}`,
      this.#bounded(record),
      version,
      wholeMs(ageMs),
    ];
    if (releases !== undefined) steps.push(String(releases.epoch));
    if (releases?.note !== undefined) steps.push(releases.note);
    return this.#change(scripts.WRITE, key, steps);
  }

  /** A step that must be on the disk when it answers. */
  async #change(script: scripts.Script, key: string, steps: readonly string[]): Promise<boolean> {
    await this.#guard.admit();
    if ((await this.#ask(script, key, steps)) !== '1') return false;
    await this.#guard.settle();
    return true;
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

function newName(): string {
  return randomBytes(12).toString('base64url');
}

function wholeMs(ms: number): string {
  return String(Math.round(ms));
}
