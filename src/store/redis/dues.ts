import type { DueRecord } from '../engine/engine.ts';
import type { RecordAddress } from '../record-store.ts';
import type { RedisConnection } from './connection.ts';
import type { RedisScan } from './scan.ts';
import * as scripts from './scripts.ts';

/** How often the index is compared with all records, in milliseconds. Builds without the index write records, too. */
const COMPARE_EVERY_MS = 600_000;

/** Maximum number of index members updated in one step. */
const BATCH = 500;

/** Maximum number of records read concurrently. */
const AT_ONCE = 100;

type Indexed = RecordAddress & { readonly dueAt: number };

/** Larger than any time: the due time of a record that is never due. */
const NEVER = Number.MAX_SAFE_INTEGER;

/**
 * The times when records are due. Each record holds its own due time, which decides. The index is a sorted set per
 * tenant. In a cluster it is in another slot, so it follows later, or never when the process dies in between. So each
 * indexed time is checked against its record, and the whole index is compared with all records now and then.
 */
export class RedisDues {
  readonly #connection: RedisConnection;
  readonly #scan: RedisScan;
  readonly #index: string;
  readonly #keyOf: (id: string) => string;

  constructor(
    connection: RedisConnection,
    scan: RedisScan,
    { index, keyOf }: { readonly index: string; readonly keyOf: (id: string) => string },
  ) {
    this.#connection = connection;
    this.#scan = scan;
    this.#index = index;
    this.#keyOf = keyOf;
  }

  /**
   * Updates the index: a record is due at that time, or is gone (`undefined`). Nobody waits for it, because the
   * comparison finds missed updates.
   */
  note(...changes: readonly (readonly [RecordAddress, number | undefined])[]): void {
    this.#put(changes).catch(() => {});
  }

  async page(withinMs: number, limit: number, after?: DueRecord): Promise<DueRecord[]> {
    if (after === undefined) await this.#compare();
    const found: DueRecord[] = [];
    const least = after?.dueAt ?? 0;
    for (let skip = 0; found.length < limit; skip += BATCH) {
      const within = String(Math.round(withinMs));
      const indexed = texts(
        await this.#connection.call(scripts.INDEXED, this.#index, [
          String(least),
          within,
          String(skip),
          String(BATCH),
        ]),
      );
      const candidates: { readonly address: RecordAddress; readonly score: number }[] = [];
      for (let at = 0; at + 1 < indexed.length; at += 2) {
        const address = addressOf(indexed[at] ?? '');
        const score = Number(indexed[at + 1]);
        if (after === undefined || isAfter({ ...address, dueAt: score }, after))
          candidates.push({ address, score });
      }
      for (let at = 0; at < candidates.length && found.length < limit; ) {
        const some = candidates.slice(at, at + Math.min(AT_ONCE, limit - found.length));
        const checked = await Promise.all(some.map(({ address, score }) => this.#checked(address, score)));
        for (const due of checked) if (due !== undefined) found.push(due);
        at += some.length;
      }
      if (indexed.length < 2 * BATCH) break;
    }
    return found;
  }

  /**
   * Returns that record if it is due at the indexed time or before, and corrects the index. A record that is due later
   * now has its own position in the index.
   */
  async #checked(address: RecordAddress, score: number): Promise<DueRecord | undefined> {
    const records = dueOf(texts(await this.#connection.call(scripts.DUE, this.#keyOf(address.id), [])));
    const record = records.find(({ kid }) => kid === address.kid);
    if (record === undefined) await this.#put([[address, undefined]]);
    else if (record.dueAt !== Math.floor(score)) await this.#put([[address, record.dueAt]]);
    if (record === undefined || record.dueAt > score) return undefined;
    return { ...address, version: record.version, dueAt: score };
  }

  async #compare(): Promise<void> {
    const since = await this.#connection.call(scripts.COMPARED, this.#index, []);
    if (typeof since === 'string' && since !== '' && Number(since) < COMPARE_EVERY_MS) return;
    // Marks the index as compared in advance, so that only one process compares it.
    await this.#connection.call(scripts.COMPARE, this.#index, []);
    let changes: [RecordAddress, number][] = [];
    for await (const { id, answer } of this.#scan.run(scripts.DUE)) {
      for (const { kid, dueAt } of dueOf(texts(answer))) changes.push([{ kid, id }, dueAt]);
      if (changes.length < BATCH) continue;
      await this.#put(changes);
      changes = [];
    }
    await this.#put(changes);
  }

  async #put(changes: readonly (readonly [RecordAddress, number | undefined])[]): Promise<void> {
    const steps = changes.flatMap(([{ kid, id }, dueAt]) => [`${kid}/${id}`, indexedAs(dueAt)]);
    if (steps.length > 0) await this.#connection.call(scripts.INDEX, this.#index, steps);
  }
}

/** Spreads the records that are due at once over scores below 1, so that a page begins where the previous one ended. */
function indexedAs(dueAt: number | undefined): string {
  if (dueAt === undefined || dueAt >= NEVER) return '';
  return dueAt === 0 ? Math.random().toFixed(15) : String(dueAt);
}

function isAfter(one: Indexed, other: Indexed): boolean {
  if (one.dueAt !== other.dueAt) return one.dueAt > other.dueAt;
  return memberOf(one) > memberOf(other);
}

function memberOf({ kid, id }: RecordAddress): string {
  return `${kid}/${id}`;
}

function addressOf(member: string): RecordAddress {
  const slash = member.indexOf('/');
  return { kid: member.slice(0, slash), id: member.slice(slash + 1) };
}

function dueOf(found: readonly string[]): { kid: string; version: string; dueAt: number }[] {
  const records = [];
  for (let at = 0; at + 2 < found.length; at += 3) {
    const [kid = '', version = '', dueAt] = found.slice(at, at + 3);
    records.push({ kid, version, dueAt: Number(dueAt) });
  }
  return records;
}

function texts(answer: unknown): string[] {
  return Array.isArray(answer) ? answer.map(String) : [];
}
