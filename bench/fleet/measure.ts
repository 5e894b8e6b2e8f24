import { randomBytes } from 'node:crypto';
import type { EngineStore } from '../../src/store/engine/engine-store.ts';
import type { RecordAddress } from '../../src/store/record-store.ts';

/** What one kind of step came to, with all callers at once. */
export interface Rate {
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

const KID = 'bench';
/** As large as a sealed credential commonly is, in characters. */
const RECORD_CHARACTERS = 1440;

function addressOf(index: number): RecordAddress {
  return { kid: KID, id: `credential-${index}` };
}

/** To an engine a sealed record is text without pattern. */
export function newRecord(): string {
  return randomBytes(RECORD_CHARACTERS * 0.75).toString('base64url');
}

/** Many credentials in an engine, and what callers do with them. */
export class Credentials {
  readonly #store: EngineStore;
  readonly #callers: number;
  readonly #versions: string[] = [];

  constructor(store: EngineStore, callers: number) {
    this.#store = store;
    this.#callers = callers;
  }

  /** Puts them there. */
  async fill(count: number): Promise<void> {
    let next = 0;
    await this.#all(async () => {
      while (next < count) {
        const index = next;
        next += 1;
        this.#versions[index] = await this.#write(index, undefined);
      }
    });
  }

  /** They are there already, all of the version that a bulk fill gives. */
  filled(count: number): void {
    for (let index = 0; index < count; index += 1) this.#versions[index] = 'filled';
  }

  reads(ms: number): Promise<Rate> {
    return this.#rate(ms, async () => {
      const index = Math.floor(Math.random() * this.#versions.length);
      const found = await this.#store.read(addressOf(index));
      if (found?.record.length !== RECORD_CHARACTERS) throw new Error(`Credential ${index} was not read.`);
    });
  }

  /** What a refresh costs the engine: the claim, and the write that ends it. */
  cycles(ms: number): Promise<Rate> {
    return this.#rate(ms, async (caller) => {
      // Each caller has its own share, so that none waits for another.
      const share = Math.floor(this.#versions.length / this.#callers);
      const index = caller * share + Math.floor(Math.random() * share);
      const version = this.#versions[index] ?? '';
      const lease = await this.#store.claim(addressOf(index), version, { waitMs: 10_000 });
      if (lease === undefined) throw new Error(`Credential ${index} was claimed by nobody, and is taken.`);
      this.#versions[index] = await this.#write(index, version, lease);
    });
  }

  async #write(
    index: number,
    expected: string | undefined,
    lease?: Awaited<ReturnType<EngineStore['claim']>>,
  ): Promise<string> {
    const result = await this.#store.cas(addressOf(index), expected, newRecord(), { ageMs: 0, lease });
    if (result.outcome === 'ok') return result.version;
    throw new Error(`Credential ${index} was not written: ${result.outcome}.`);
  }

  async #rate(ms: number, step: (caller: number) => Promise<void>): Promise<Rate> {
    const took: number[] = [];
    const begin = performance.now();
    await this.#all(async (caller) => {
      while (performance.now() - begin < ms) {
        const start = performance.now();
        await step(caller);
        took.push(performance.now() - start);
      }
    });
    const seconds = (performance.now() - begin) / 1000;
    const sorted = took.toSorted((a, b) => a - b);
    const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
    return { perSecond: took.length / seconds, p50: at(0.5), p99: at(0.99) };
  }

  async #all(work: (caller: number) => Promise<void>): Promise<void> {
    await Promise.all(Array.from({ length: this.#callers }, (_, caller) => work(caller)));
  }
}
