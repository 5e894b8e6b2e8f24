import { type Credential, isRenewable } from '../credential.ts';
import type { CredentialStore, StoredCredential } from '../credentials/credential-store.ts';
import { MOVED } from '../credentials/login-required.ts';
import { freshFor, freshness, lapsesAt } from '../credentials/token-age.ts';
import type { VaultEvent } from '../credentials/vault-event.ts';
import {
  AbortedError,
  HoldfastError,
  LockTimeoutError,
  LoginRequiredError,
  NetworkError,
} from '../errors.ts';
import type { RecordAddress } from '../store/record-store.ts';
import { thisMoment } from '../system/clock.ts';
import { sleep } from '../system/locks/keyed-mutex.ts';
import { measure, type RefresherState } from '../system/metric-channel.ts';
import { defined } from '../values/defined.ts';
import type { RefreshedLogin, RefresherOptions, RefresherResult } from './refresher-options.ts';
import type { SharedRefresh } from './shared-refresh.ts';
import { TokenBucket } from './token-bucket.ts';

/*
 * Keeps every credential of a store fresh. It refreshes each one when it is due, by the same protocol as a caller, so
 * any number of processes may do this for one store. It reads a record only when the record may need work, and does not
 * keep it in memory: it remembers only when to look again.
 */

const EVERY_MS = 30_000;
const RATE_PER_MINUTE = 600;

/**
 * Longest time between two looks at a record, in milliseconds. A login with shorter-lived tokens may have replaced it.
 */
const LOOK_AGAIN_MS = 10 * 60_000;

/** Time limit for the wait for a refresh, in milliseconds. The refresh continues after it. */
const WAIT_MS = 120_000;

/** Pause after a failed refresh, in milliseconds; it doubles each time. */
const FIRST_RETRY_MS = 5_000;
const LONGEST_RETRY_MS = 60_000;

/** Time until the refresher tries a refused login again, in milliseconds: some refusals are temporary. */
const PROBE_MS = 3_600_000;

/** Pause when another process holds the lease, in milliseconds. */
const OTHERS_PAUSE_MS = 1_000;

/** The pause between two listings is at least this many times the duration of one listing. */
const LISTING_SHARE = 20;

/** Shortest pause between two rounds, in milliseconds, so that very many credentials do not keep a core busy. */
const SHORTEST_PAUSE_MS = 100;

/**
 * Maximum number of concurrent refreshes at one authorization server: a server that hangs must not block the others.
 */
const MOST_AT_AN_ISSUER = 16;

/** Maximum number of concurrent refreshes in all: each holds its tokens in memory. */
const MOST_AT_ONCE = 256;

/** Number of records to open before the refreshes that are due among them begin. */
const CHUNK = 200;

/** Maximum number of reported reasons why records cannot be opened; more do not help. */
const MOST_REASONS = 20;

interface Entry {
  readonly address: RecordAddress;
  /** When to read the record again, on the monotonic clock, in milliseconds. */
  lookAt: number;
  state: RefresherState;
  isBusy: boolean;
  failures: number;
  isTried: boolean;
  /** When to try a refused login again, on the monotonic clock, in milliseconds. */
  probeAt: number;
}

interface Issuer {
  readonly bucket: TokenBucket;
  running: number;
}

export class Refresher {
  readonly #store: CredentialStore;
  readonly #refresh: SharedRefresh;
  readonly #report: (event: VaultEvent) => void;
  readonly #options: RefresherOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #issuers = new Map<string, Issuer>();
  readonly #running = new Set<Promise<void>>();
  #refreshed = 0;
  #failed: HoldfastError[] = [];
  readonly #told = new Set<string>();
  #isAway = false;
  #defect: { readonly error: unknown } | undefined;
  #wake: () => void = () => {};

  constructor(
    parts: { store: CredentialStore; refresh: SharedRefresh; report: (event: VaultEvent) => void },
    options: RefresherOptions,
  ) {
    this.#store = parts.store;
    this.#refresh = parts.refresh;
    this.#report = parts.report;
    this.#options = options;
  }

  /**
   * Runs until the signal, or with `once` until everything that is due has been tried.
   *
   * @throws what listing the store throws the first time, unless the error may pass
   */
  async run(signal: AbortSignal): Promise<RefresherResult> {
    const { once = false, everyMs = EVERY_MS } = this.#options;
    let listAt = 0;
    let isFirst = true;
    while (!signal.aborted) {
      if (this.#defect !== undefined) throw this.#defect.error;
      try {
        if (performance.now() >= listAt) {
          const begin = performance.now();
          await this.#list();
          const end = performance.now();
          // A large store that takes long to list is listed less often.
          listAt = end + Math.max(everyMs, LISTING_SHARE * (end - begin));
        }
        await this.#look(signal);
        if (this.#isAway) this.#back();
        isFirst = false;
      } catch (error) {
        if (signal.aborted) break;
        if (!(error instanceof HoldfastError) || (isFirst && (once || !error.retryable))) throw error;
        this.#away(error);
        await quietPause(Math.min(everyMs, FIRST_RETRY_MS) * (0.5 + Math.random()), signal);
        continue;
      }
      this.#tell();
      if (once && this.#isDone()) break;
      await this.#untilSomethingIsDue(listAt, signal);
    }
    if (once) await Promise.all(this.#running);
    return this.#result();
  }

  /** Lists the records of the store, and forgets those that are gone. */
  async #list(): Promise<void> {
    const gone = new Set(this.#entries.keys());
    for (const address of await this.#store.addresses()) {
      const key = `${address.kid}/${address.id}`;
      gone.delete(key);
      if (this.#entries.has(key)) continue;
      this.#entries.set(key, {
        address,
        lookAt: 0,
        state: 'fresh',
        isBusy: false,
        failures: 0,
        isTried: false,
        probeAt: 0,
      });
    }
    for (const key of gone) this.#entries.delete(key);
  }

  /** Reads the records that may be due, and starts their refreshes: the token that expires first goes first. */
  async #look(signal: AbortSignal): Promise<void> {
    const now = performance.now();
    const wanted = [...this.#entries.values()].filter((entry) => !entry.isBusy && entry.lookAt <= now);
    for (let begin = 0; begin < wanted.length && !signal.aborted; begin += CHUNK) {
      const chunk = wanted.slice(begin, begin + CHUNK);
      // Set before the read, because `open` returns nothing for a record that was removed meanwhile.
      for (const entry of chunk) lookIn(entry, LOOK_AGAIN_MS);
      const { held, undecryptable } = await this.#open(chunk);
      for (const one of undecryptable) {
        const entry = this.#entry(one);
        if (entry !== undefined) entry.state = 'undecryptable';
        this.#doesNotOpen(one.error);
      }
      const due = held.filter((one) => this.#settle(one) === 'due');
      const moment = thisMoment();
      const endOf = ({ credential }: StoredCredential) => lapsesAt(credential, moment) ?? 0;
      due.sort((a, b) => endOf(a) - endOf(b));
      const withheld = new Map<string, number>();
      for (const one of due) this.#begin(one, withheld, signal);
      for (const one of held) if (this.#isWorthAsking(one)) this.#begin(one, withheld, signal);
    }
  }

  async #open(entries: readonly Entry[]) {
    try {
      return await this.#store.open(entries.map(({ address }) => address));
    } catch (error) {
      // The store is unreachable. Look at these as soon as it is back.
      for (const entry of entries) lookIn(entry, 0);
      throw error;
    }
  }

  #entry({ kid, id }: RecordAddress): Entry | undefined {
    return this.#entries.get(`${kid}/${id}`);
  }

  /** Remembers what the record needs next. */
  #settle(held: StoredCredential): RefresherState | undefined {
    const entry = this.#entry(held.address);
    if (entry === undefined) return undefined;
    const { credential } = this.#store.newest(held);
    const moment = thisMoment();
    const state = refresherStateOf(credential);
    entry.state = state;
    const isSettled = state !== 'fresh' || !isRenewable(credential);
    lookIn(entry, isSettled ? LOOK_AGAIN_MS : Math.min(LOOK_AGAIN_MS, freshFor(credential, moment)));
    return state;
  }

  /** Whether to try a refused login again: an hour after the refusal, and then once an hour. */
  #isWorthAsking({ address, credential }: StoredCredential): boolean {
    const { loginRequired } = credential;
    if (loginRequired === undefined || loginRequired.error === MOVED || !isRenewable(credential))
      return false;
    const entry = this.#entry(address);
    const isRecent = Math.abs(Date.now() - loginRequired.since) < PROBE_MS;
    return entry !== undefined && !entry.isBusy && !isRecent && entry.probeAt <= performance.now();
  }

  /** Starts a refresh if its server may get a request now. Otherwise it schedules the next look at that login. */
  #begin(held: StoredCredential, withheld: Map<string, number>, signal: AbortSignal): void {
    const entry = this.#entry(held.address);
    if (entry === undefined) return;
    if (this.#options.once === true && entry.isTried) return;
    const { issuer } = held.credential.server;
    const at = this.#issuer(issuer);
    const before = withheld.get(issuer) ?? 0;
    const isFull = this.#running.size >= MOST_AT_ONCE || at.running >= MOST_AT_AN_ISSUER;
    if (before > 0 || isFull || !at.bucket.take()) {
      withheld.set(issuer, before + 1);
      const rounds = Math.ceil((before + 1) / MOST_AT_AN_ISSUER);
      lookIn(entry, Math.max(rounds * SHORTEST_PAUSE_MS, at.bucket.waitMs(before + 1)));
      return;
    }
    entry.isBusy = true;
    entry.isTried = true;
    at.running += 1;
    const run = this.#refreshOne(held, entry, signal).finally(() => {
      entry.isBusy = false;
      at.running -= 1;
      this.#running.delete(run);
      // This record may need a look sooner than all others.
      this.#wake();
    });
    this.#running.add(run);
  }

  async #refreshOne(held: StoredCredential, entry: Entry, signal: AbortSignal): Promise<void> {
    const { resource, account } = held.credential;
    const login = { resource, account };
    try {
      // With `leaseMs: 0` it waits neither for a holder of the lease nor for a failing server. There will be another
      // try.
      const probe = entry.state === 'login-required';
      if (probe) entry.probeAt = performance.now() + PROBE_MS;
      const next = await this.#refresh.refresh(held, { leaseMs: 0, waitMs: WAIT_MS, signal, probe });
      entry.failures = 0;
      this.#settle(next);
      this.#refreshed += 1;
      this.#hear({ ...login, outcome: 'refreshed' });
    } catch (error) {
      if (!(error instanceof HoldfastError)) {
        // A bug in Holdfast ends the loop.
        this.#defect = { error };
        return;
      }
      if (error instanceof AbortedError) return;
      // The login needed a person before and still does, so this is not reported again.
      if (entry.state === 'login-required') return;
      if (error instanceof LockTimeoutError) {
        lookIn(entry, OTHERS_PAUSE_MS * (0.5 + Math.random()));
        return;
      }
      if (error instanceof LoginRequiredError) {
        entry.state = 'login-required';
        lookIn(entry, LOOK_AGAIN_MS);
        this.#hear({ ...login, outcome: 'login-required', error });
        return;
      }
      entry.failures += 1;
      const grown = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(entry.failures - 1, 10));
      const asked = error instanceof NetworkError ? (error.retryAfterMs ?? 0) : 0;
      lookIn(entry, Math.max(asked, grown * (0.75 + Math.random() / 2)));
      this.#failed.push(error);
      this.#hear({ ...login, outcome: 'failed', error });
    }
  }

  #issuer(name: string): Issuer {
    const { ratePerMinute = RATE_PER_MINUTE } = this.#options;
    const issuer = this.#issuers.get(name) ?? { bucket: new TokenBucket(ratePerMinute), running: 0 };
    this.#issuers.set(name, issuer);
    return issuer;
  }

  /** Whether everything that is due has been tried. */
  #isDone(): boolean {
    return [...this.#entries.values()].every(({ state, isTried }) => state !== 'due' || isTried);
  }

  async #untilSomethingIsDue(listAt: number, signal: AbortSignal): Promise<void> {
    await quietPause(SHORTEST_PAUSE_MS, signal);
    let next = listAt;
    for (const { isBusy, lookAt } of this.#entries.values()) if (!isBusy) next = Math.min(next, lookAt);
    const ms = next - performance.now();
    if (ms <= 0) return;
    const over = new AbortController();
    this.#wake = () => over.abort();
    await quietPause(ms, AbortSignal.any([signal, over.signal]));
  }

  #tell(): void {
    const states = this.#states();
    measure({ name: 'warm', states });
    this.#options.onLook?.(states);
  }

  #states(): Record<RefresherState, number> {
    const states = { fresh: 0, due: 0, 'login-required': 0, undecryptable: 0 };
    for (const { state } of this.#entries.values()) states[state] += 1;
    return states;
  }

  #result(): RefresherResult {
    return { states: this.#states(), refreshed: this.#refreshed, failures: this.#failed };
  }

  #hear(login: RefreshedLogin): void {
    // A process that runs for months keeps no list of old failures.
    if (this.#options.once !== true) this.#failed = this.#failed.slice(-1);
    this.#options.onRefresh?.(login);
  }

  /** Reports each reason once. Nobody else would notice that this machine has a different key than the store needs. */
  #doesNotOpen({ message, hint, code }: HoldfastError): void {
    if (this.#told.has(message) || this.#told.size >= MOST_REASONS) return;
    this.#told.add(message);
    this.#report(
      defined({ type: 'undecryptable', message: `A record is not kept warm. ${message}`, hint, code }),
    );
  }

  #away(error: HoldfastError): void {
    if (this.#isAway) return;
    this.#isAway = true;
    const { message, hint, code } = error;
    this.#report(
      defined({ type: 'store-away', message: `${message} Trying again until it is back.`, hint, code }),
    );
  }

  #back(): void {
    this.#isAway = false;
    this.#report({ type: 'store-back', message: 'The store is back.' });
  }
}

function refresherStateOf(credential: Credential): RefresherState {
  if (credential.loginRequired !== undefined) return 'login-required';
  const state = freshness(credential, thisMoment());
  if (isRenewable(credential)) return state === 'fresh' ? 'fresh' : 'due';
  return state === 'lapsed' ? 'login-required' : 'fresh';
}

function lookIn(entry: Entry, ms: number): void {
  entry.lookAt = performance.now() + ms;
}

async function quietPause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, signal);
  } catch {
    // The loop checks the signal.
  }
}
