import { randomBytes } from 'node:crypto';
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Credentials, NewLogin, Stored } from './credentials.ts';
import type { Fleet } from './fleet.ts';
import type { Issuer } from './issuer.ts';
import { WORKERS } from './plan.ts';
import { sharedNow } from './shared-clock.ts';
import type { Absence, Login, Operation } from './troubles.ts';

/** More keys than this are too long a text for a key file. */
const MOST_KEYS = 100;
const RETRY_MS = 200;

/** What the logins of a run are kept by: `Credentials`, or a stand-in of another design. */
export interface LoginStore {
  put(resource: string, login: NewLogin): Promise<void>;
  stored(resource: string): Promise<Stored | undefined>;
}

export interface LoginParts {
  readonly issuer: Issuer;
  readonly endpoints: Pick<NewLogin, 'tokenEndpoint' | 'revocationEndpoint' | 'clientId'>;
  readonly store: LoginStore | Credentials;
  readonly resources: readonly string[];
  readonly keyFile: string;
  /** Whether the engine has lost writes since then. */
  readonly lostSince: (at: number) => boolean;
}

/**
 * The people of a run, who log in, out, and in again, move logins away and take them back; and what is seen of their logins
 * meanwhile. At one credential one thing is done at a time, so that what came of it can be told; the workers go on beside it.
 */
export class Logins {
  /** By the number of the login at the server. */
  readonly all: Login[] = [];
  readonly operations: Operation[] = [];
  readonly absences: Absence[] = [];
  /** What was seen that must not be. */
  readonly seen: string[] = [];
  readonly #parts: LoginParts;
  readonly #busy = new Set<number>();
  readonly #exported = new Map<number, string>();
  readonly #highest = new Map<number, { readonly login: number; readonly generation: number }>();
  #lastLogin = 0;
  #isClosed = false;

  constructor(parts: LoginParts) {
    this.#parts = parts;
  }

  /** Logs in, and tries again until that is stored. */
  async logIn(credential: number): Promise<void> {
    const { issuer, endpoints, store, resources } = this.#parts;
    const resource = resources[credential] ?? '';
    const { family, refreshToken } = await issuer.begin(resource);
    const login: Login = { family, credential, begunAt: sharedNow(), landedAt: undefined };
    this.all[family] = login;
    this.#lastLogin = Math.max(Date.now(), this.#lastLogin + 1);
    const made = { ...endpoints, refreshToken, loggedInAt: this.#lastLogin };
    for (let isTried = false; !this.#isClosed; ) {
      try {
        // A write that failed may have landed, and may have been refreshed since.
        if (isTried && (await store.stored(resource))?.loggedInAt === made.loggedInAt) break;
        isTried = true;
        await store.put(resource, made);
        break;
      } catch {
        await sleep(RETRY_MS);
      }
    }
    login.landedAt = sharedNow();
  }

  /** @returns whether there was a credential to log in to again; what was there stays alive at the server */
  logInAgain(credential: number): Promise<void> | undefined {
    return this.#at(credential, (free) => this.logIn(free));
  }

  logOut(fleet: Fleet, worker: number, credential: number): Promise<void> | undefined {
    return this.#at(credential, (free) => this.#operate(fleet, worker, 'logout', free));
  }

  moveOut(fleet: Fleet, worker: number, credential: number): Promise<void> | undefined {
    return this.#at(credential, (free) => this.#operate(fleet, worker, 'export', free));
  }

  /** Puts a new key before the others, in the file that every process has, and has a worker seal every login under it. */
  async rekey(fleet: Fleet, worker: number): Promise<void> {
    const { keyFile } = this.#parts;
    const keys = readFileSync(keyFile, 'utf8').split('\n').slice(0, MOST_KEYS);
    writeFileSync(`${keyFile}.new`, [randomBytes(32).toString('base64url'), ...keys].join('\n'));
    chmodSync(`${keyFile}.new`, 0o600);
    renameSync(`${keyFile}.new`, keyFile);
    const askedAt = sharedNow();
    const ended = await fleet.command(worker, { kind: 'rekey' });
    this.#noted('rekey', undefined, askedAt, ended);
  }

  /** Looks at what is stored of every credential, and does what a person would do then. */
  async look(fleet: Fleet): Promise<void> {
    await Promise.all(
      this.#parts.resources.map(async (_, credential) => {
        if (this.#busy.has(credential)) return;
        // An engine that is down is asked again at the next look.
        await this.#lookAt(fleet, credential).catch(() => {});
      }),
    );
  }

  /** Nothing is under way, and nobody is logged out. */
  get isSettled(): boolean {
    return this.#busy.size === 0 && this.absences.every(({ to }) => Number.isFinite(to));
  }

  close(): void {
    this.#isClosed = true;
  }

  async #lookAt(fleet: Fleet, credential: number): Promise<void> {
    const { store, resources, issuer, lostSince } = this.#parts;
    const resource = resources[credential] ?? '';
    const since = this.all.findLast((one) => one.credential === credential && one.landedAt !== undefined);
    const stored = await store.stored(resource);
    // Something was begun meanwhile.
    if (this.#busy.has(credential) || since?.landedAt === undefined) return;
    const excused = lostSince(since.landedAt);
    const hasLeft = this.operations.some(
      (one) => one.credential === credential && one.kind !== 'import' && one.endedAt > since.begunAt,
    );
    if (stored === undefined) {
      if (!hasLeft && !excused)
        this.seen.push(`credential ${credential}: it vanished, and nobody logged out.`);
      this.#absent(credential);
      await this.#at(credential, (free) => this.logIn(free), true);
    } else if (stored.isMoved === true) {
      await this.#takeBack(fleet, credential, hasLeft || excused);
    } else if (stored.loginRequired) {
      const family = issuer.familyOf(stored.refreshToken);
      if (family !== undefined && issuer.revokedAt(family) === undefined) return;
      await this.#at(credential, (free) => this.logIn(free), true);
    } else {
      this.#present(credential);
      // Who logs out removes the record of the newest key first: killed then, it leaves one of an earlier key.
      this.#compare(credential, stored, since, excused || hasLeft);
    }
  }

  async #takeBack(fleet: Fleet, credential: number, isKnown: boolean): Promise<void> {
    this.#absent(credential);
    const login = this.#exported.get(credential);
    if (login === undefined) {
      if (!isKnown) this.seen.push(`credential ${credential}: it moved away, and was handed to nobody.`);
      await this.#at(credential, (free) => this.logIn(free), true);
      return;
    }
    const task = { kind: 'import', credential, login } as const;
    const worker = Math.floor(Math.random() * WORKERS);
    await this.#at(credential, async () => {
      const askedAt = sharedNow();
      this.#noted('import', credential, askedAt, await fleet.command(worker, task));
    });
  }

  #compare(credential: number, stored: Stored, since: Login, excused: boolean): void {
    const { issuer, lostSince } = this.#parts;
    const family = issuer.familyOf(stored.refreshToken);
    const { loggedInAt: login = 0, generation } = stored;
    const before = this.#highest.get(credential);
    const isOlder = family !== undefined && family < since.family && !excused;
    if (isOlder && before?.login !== login) {
      this.seen.push(
        `credential ${credential}: login ${family} took the place of the later ${since.family}.`,
      );
    }
    if (before?.login === login && generation < before.generation && !lostSince(since.landedAt ?? 0)) {
      this.seen.push(
        `credential ${credential}: the stored generation fell from ${before.generation} to ${generation}.`,
      );
    }
    this.#highest.set(credential, { login, generation });
  }

  async #operate(fleet: Fleet, worker: number, kind: 'logout' | 'export', credential: number): Promise<void> {
    const askedAt = sharedNow();
    this.#absent(credential);
    const ended = await fleet.command(worker, { kind, credential }, (login) =>
      this.#exported.set(credential, login),
    );
    this.#noted(kind, credential, askedAt, ended);
  }

  #noted(
    kind: Operation['kind'],
    credential: number | undefined,
    askedAt: number,
    ended: Awaited<ReturnType<Fleet['command']>>,
  ): void {
    const { tag = '', outcome = 'no worker', code } = ended ?? {};
    this.operations.push({ kind, credential, askedAt, endedAt: sharedNow(), tag, outcome, code });
  }

  /** Whoever has no login now is not to be counted as refused one. */
  #absent(credential: number): void {
    if (this.#isAbsent(credential)) return;
    this.absences.push({ credential, from: sharedNow(), to: Number.POSITIVE_INFINITY });
  }

  #isAbsent(credential: number): boolean {
    return this.absences.some((one) => one.credential === credential && !Number.isFinite(one.to));
  }

  #present(credential: number): void {
    const open = this.absences.find((one) => one.credential === credential && !Number.isFinite(one.to));
    if (open !== undefined) open.to = sharedNow();
  }

  /** At that credential, or at the next one where nothing is done at the moment. */
  #at(
    credential: number,
    step: (free: number) => Promise<void>,
    onlyThis = false,
  ): Promise<void> | undefined {
    const count = this.#parts.resources.length;
    const order = Array.from({ length: count }, (_, at) => (credential + at) % count);
    // What has left must be back first, or nobody could tell whose end it was.
    const isFree = (one: number) => !this.#busy.has(one) && !this.#isAbsent(one);
    const free = onlyThis ? [credential].find((one) => !this.#busy.has(one)) : order.find(isFree);
    if (free === undefined) return undefined;
    this.#busy.add(free);
    return step(free).finally(() => this.#busy.delete(free));
  }
}
