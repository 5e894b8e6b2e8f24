import type { Credential } from '../credential.ts';
import { HoldfastError, LoginRequiredError } from '../errors.ts';
import type { Lease } from '../store/store.ts';
import { measure } from '../system/metrics.ts';
import { pause } from '../system/turn.ts';
import { loggedOut } from './login-required.ts';
import type { Custody, Held } from './sealed-credential-store.ts';
import type { VaultEvent } from './vault-event.ts';
import { hasSameTokens, supersedes } from './versions.ts';

/*
 * An answer that carries tokens is never dropped: nothing else in the world has them. It is written by version and not by
 * lease; retried; kept in memory and spilled, sealed, where the store does not take it; and written again where the store
 * has forgotten it.
 */

/** Between two tries to write what the server gave while its caller waits, in milliseconds. */
const COMMIT_PAUSES_MS = [20, 100, 500];

/** Between two tries to write it when nobody waits any more, in milliseconds: growing. */
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 1_000;

/** Tokens that the store has not taken, and the lease that goes on until it does: nobody else may present their parent. */
interface Unlanded {
  readonly held: Held;
  readonly lease?: Lease | undefined;
}

export class Landing {
  readonly #custody: Custody;
  readonly #report: (event: VaultEvent) => void;
  readonly #hasWindow: (credential: Credential) => Promise<boolean>;
  readonly #unlanded = new Map<string, Unlanded>();
  /** The last that this process saw written of each: an engine that lost a write, and forgot, is told again. */
  readonly #written = new Map<string, Held>();
  #persisting: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param hasWindow whether the server of a credential takes a refresh token again that was presented a moment ago */
  constructor(
    custody: Custody,
    report: (event: VaultEvent) => void,
    hasWindow: (credential: Credential) => Promise<boolean>,
  ) {
    this.#custody = custody;
    this.#report = report;
    this.#hasWindow = hasWindow;
  }

  /** The credential with the newest tokens that this process knows of. */
  newest(held: Held): Held {
    const name = nameOfRecord(held);
    const written = this.#written.get(name);
    if (written !== undefined && supersedes(written.credential, held.credential)) {
      if (!this.#unlanded.has(name)) this.#unlanded.set(name, { held: written });
    }
    const kept = this.#unlanded.get(name)?.held;
    return kept !== undefined && supersedes(kept.credential, held.credential)
      ? { ...held, credential: kept.credential }
      : held;
  }

  /** Whether that lease goes on, since what was got under it is in no store yet. */
  keeps(lease: Lease): boolean {
    return [...this.#unlanded.values()].some((one) => one.lease === lease);
  }

  /**
   * The credential with the newest tokens that exist anywhere: in memory, or spilled by a process whose store did not take
   * them. Those are written where they belong. Only for who holds the lease.
   *
   * @param lease goes on where it is a claim, and the store takes nothing now either: nobody may present what they came of
   */
  async bringHome(stored: Held, lease?: Lease): Promise<Held> {
    const name = nameOfRecord(stored);
    const kept = this.newest(stored).credential;
    const spilled = await this.#withoutOvertaken(stored, await this.#custody.spilled(stored), lease);
    const newest = spilled.reduce((a, b) => (supersedes(b, a) ? b : a), kept);
    if (newest === stored.credential) {
      if (spilled.length > 0) await this.#custody.removeSpilled(stored);
      return stored;
    }
    let at = stored;
    try {
      for (;;) {
        const written = await this.#custody.commit(at, newest);
        if (written !== undefined) {
          await this.#landed(name, written, spilled.length > 0);
          return written;
        }
        const now = await this.#custody.reread(at);
        if (now === undefined) break;
        if (!supersedes(newest, now.credential)) {
          await this.#landed(name, now, spilled.length > 0);
          return now;
        }
        at = now;
      }
    } catch {
      // The store still takes nothing; they stay where they are.
      if (lease?.epoch !== undefined) {
        this.#unlanded.set(name, { held: { ...at, credential: newest }, lease });
        this.#retryIn(FIRST_RETRY_MS);
      }
    }
    return { ...at, credential: newest };
  }

  /**
   * Keeps what a server answered: in the store, or where that takes nothing, elsewhere.
   *
   * @param base the record whose refresh token was presented
   * @param lease ends in the same step where the store can do that; it goes on while the answer is not in the store
   * @returns what is in the store then: the answer, or what counts for more
   */
  async keep(base: Held, credential: Credential, lease: Lease): Promise<Held> {
    const name = nameOfRecord(base);
    let at = base;
    for (let attempt = 0; ; attempt += 1) {
      try {
        if (await this.#isOvertaken(credential, lease)) {
          await this.#custody.journal(at, credential);
          this.#unlanded.delete(name);
          const stored = await this.#custody.reread(at);
          if (stored === undefined) throw loggedOut(credential);
          return stored;
        }
        const written = await this.#custody.commit(at, credential, lease);
        if (written !== undefined) {
          await this.#landed(name, written, false);
          return written;
        }
        const stored = await this.#custody.reread(at);
        if (stored !== undefined && hasSameTokens(stored.credential, credential)) {
          // An earlier try had landed, and its answer had not come.
          await this.#landed(name, stored, false);
          return stored;
        }
        if (stored === undefined || !supersedes(credential, stored.credential)) {
          // Logged out, or logged in anew, or a later answer is there already.
          await this.#custody.journal(at, credential).catch(() => {});
          if (stored === undefined) throw loggedOut(credential);
          return stored;
        }
        at = stored;
      } catch (error) {
        if (error instanceof LoginRequiredError) throw error;
        const wait = COMMIT_PAUSES_MS[attempt];
        if (wait === undefined) return await this.#keepElsewhere(name, { ...at, credential }, lease, error);
        measure({ name: 'commit-retry' });
        await pause(wait);
      }
    }
  }

  /** Tries again, while nobody waits, to write what the store could not take. */
  persistSoon(): void {
    if (this.#unlanded.size === 0) return;
    this.#persisting ??= this.#persist().finally(() => {
      this.#persisting = undefined;
    });
  }

  /**
   * Tries once more to write what the store could not take.
   *
   * @returns what is in no place that outlives this process
   */
  async close(): Promise<readonly Credential[]> {
    clearTimeout(this.#timer);
    await this.#persisting;
    await this.#persist();
    clearTimeout(this.#timer);
    this.#closed = true;
    const lost: Credential[] = [];
    for (const { held, lease } of this.#unlanded.values()) {
      // It lapses by itself: whoever follows looks for what was spilled first.
      lease?.abandon?.();
      const spilled = await this.#custody.spilled(held);
      if (!spilled.some((one) => !supersedes(held.credential, one))) lost.push(held.credential);
    }
    return lost;
  }

  async #persist(): Promise<void> {
    for (const [name, { held, lease }] of this.#unlanded) {
      try {
        const stored = await this.#custody.reread(held);
        const written =
          stored === undefined ||
          !supersedes(held.credential, stored.credential) ||
          (await this.#isOvertaken(held.credential, lease))
            ? stored
            : await this.#custody.commit(stored, held.credential, lease);
        const settled = stored === undefined || written !== undefined;
        if (!settled || this.#unlanded.get(name)?.held !== held) continue;
        await this.#landed(name, written, true);
        if (written !== undefined && !hasSameTokens(written.credential, held.credential)) {
          await this.#custody.journal(held, held.credential);
        }
        await lease?.release();
      } catch {
        // It was said when it happened first, and the next try may do better.
      }
    }
  }

  /**
   * Whether another holder has claimed since, at a server that answers twice and lets the newest answer count. Whatever that one
   * was given, and could not write, makes this answer worthless; but the refresh token that both came of is good for another one,
   * for as long as the window is open. At other servers this may be the only answer that there is.
   */
  async #isOvertaken(credential: Credential, lease: Lease | undefined): Promise<boolean> {
    if (lease?.followed === undefined || !(await lease.followed())) return false;
    return this.#hasWindow(credential);
  }

  /** What was spilled, but for what another holder has claimed after, as above. */
  async #withoutOvertaken(
    held: Held,
    spilled: readonly Credential[],
    lease: Lease | undefined,
  ): Promise<readonly Credential[]> {
    const { epoch } = lease ?? {};
    const isLate = (one: Credential) =>
      epoch !== undefined && one.epoch !== undefined && epoch > one.epoch + 1;
    const late = spilled.filter(isLate);
    if (late.length === 0 || !(await this.#hasWindow(held.credential))) return spilled;
    for (const one of late) await this.#custody.journal(held, one);
    const rest = spilled.filter((one) => !isLate(one));
    if (rest.length === 0) await this.#custody.removeSpilled(held);
    return rest;
  }

  async #landed(name: string, written: Held | undefined, removeSpilled: boolean): Promise<void> {
    const unlanded = this.#unlanded.get(name);
    this.#unlanded.delete(name);
    if (written === undefined) this.#written.delete(name);
    else this.#written.set(name, written);
    const held = written ?? unlanded?.held;
    // A spill that stays is only looked at once more.
    if (removeSpilled && held !== undefined) await this.#custody.removeSpilled(held).catch(() => {});
  }

  /** The store does not take it: in memory for this process, and spilled for the others. */
  async #keepElsewhere(name: string, held: Held, lease: Lease, error: unknown): Promise<Held> {
    this.#unlanded.set(name, { held, lease });
    measure({ name: 'set-aside', why: 'unpersisted' });
    const place = await this.#custody.spill(held, held.credential).catch(() => undefined);
    const known = error instanceof HoldfastError ? error : undefined;
    const kept =
      place === undefined
        ? 'they are in this process’s memory only'
        : `they lie sealed in ${place}, and are brought home by the next refresh`;
    this.#report({
      type: 'unpersisted',
      message: `The new tokens of ${held.credential.resource} could not be stored; ${kept}. ${known?.message ?? ''}`,
      hint: known?.hint,
    });
    this.#retryIn(FIRST_RETRY_MS);
    return held;
  }

  #retryIn(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.persistSoon();
      void this.#persisting?.then(() => {
        if (this.#unlanded.size > 0) this.#retryIn(Math.min(ms * 2, LONGEST_RETRY_MS));
      });
    }, ms);
    this.#timer.unref();
  }
}

export function nameOfRecord({ address }: Held): string {
  return `${address.kid}/${address.id}`;
}
