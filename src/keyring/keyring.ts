/**
 * How long what a keyring holds will last, the longest first: `disk` until deleted, `boot` until the next boot,
 * `three-days` until three days after its last use or the next boot, `session` until the last process of the login
 * session ends, `process` until this process ends. Only `process` is too short for a login to be kept.
 */
export type Lifetime = (typeof LIFETIMES)[number];

export const LIFETIMES = ['disk', 'boot', 'three-days', 'session', 'process'] as const;

/** How long that is, as the end of a sentence such as "It lasts …". */
export function lifetimeInWords(lifetime: Lifetime): string {
  switch (lifetime) {
    case 'disk':
      return 'until it is deleted';
    case 'boot':
      return 'until the next boot';
    case 'three-days':
      return 'three days after its last use, at most until the next boot';
    case 'session':
      return 'until the login session ends';
    case 'process':
      return 'until this process ends';
  }
}

/**
 * The tiers, strongest first: native is the operating system's own. `shared` is none that is looked for: a key that many
 * machines are given, by whoever runs them.
 */
export type Tier = 'native' | 'file' | 'memory' | 'shared';

/**
 * What a probe found. Absent, locked, denied and broken are four different answers: a locked keyring is never
 * reported as an empty one, because the next step after "empty" would be a new login over a good one.
 */
export type KeyringProbe =
  | { readonly status: 'usable'; readonly lifetime: Lifetime }
  | {
      readonly status: 'absent' | 'locked' | 'denied' | 'broken';
      /** Why, as a sentence without a secret. */
      readonly reason: string;
      /** What would make it usable. */
      readonly hint: string;
      /** The error that it comes from, where that says more. */
      readonly cause?: unknown;
    };

/**
 * A place that holds small secrets; Holdfast keeps just its sealing key there.
 *
 * Failure protocol, the same for every keyring:
 * - not there: `get` answers `undefined`, `delete` answers `false`; neither creates anything;
 * - the keyring is not there, or is locked, refuses or is out of order: `KeyringAbsentError`, `KeyringLockedError`,
 *   `KeyringDeniedError`, `KeyringBrokenError`;
 * - there, but damaged: `KeyringBrokenError`, and what is there stays as it is.
 *
 * Every call ends within the keyring's own deadline and never prompts. The exported suite
 * `keyringContract` (`holdfast/testing`) holds these duties as tests.
 */
export interface Keyring {
  /** The name that a user chooses it by: `secret-service`, `keychain`, `keyctl:user`, `file`, `memory` … */
  readonly id: string;
  readonly tier: Tier;
  /** Whether a secret could be read and written here now. Never prompts, never creates, never throws. */
  probe(): Promise<KeyringProbe>;
  /** The secret of that name, or `undefined` when there is none. */
  get(name: string): Promise<Uint8Array | undefined>;
  /** Keeps the secret under that name, replacing what was there. Durable when it returns, if the keyring is. */
  set(name: string, secret: Uint8Array): Promise<void>;
  /** Removes it; `false` when there was none. */
  delete(name: string): Promise<boolean>;
  /** Present where only others put secrets: `set` and `delete` then say how that is done. */
  readonly readOnly?: true;
  /**
   * As `set`, if what is there is still that (`undefined`: nothing). Present where other machines write too, whom no lock of
   * this machine holds off.
   */
  setIf?(name: string, expected: Uint8Array | undefined, secret: Uint8Array): Promise<boolean>;
  /**
   * Present where others change what is there while this process runs: such a keyring is asked each time, and remembers by
   * itself for as long as that is right. Makes it look anew; `false` when it has done so since that moment, in ms on the
   * monotonic clock.
   */
  forget?(readBefore: number): boolean;
  /** Frees connections and timers, so that the process can end. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * One candidate of the resolution. `open` answers `undefined`, or throws, when the keyring cannot be had here;
 * either way the next one is tried and the reason is kept.
 */
export interface KeyringOpener {
  readonly id: string;
  readonly tier: Tier;
  /** Never a candidate unless the user names it. */
  readonly onlyWhenNamed?: boolean;
  /** What fails there, at opening or later, may work again by itself: it is then tried anew, and no verdict stays. */
  readonly mayRecover?: boolean;
  /** The id of a stronger keyring that is the same store where both are: while that one serves, this is not asked. */
  readonly servedBy?: string;
  open(): Promise<Keyring | undefined>;
}

/** What became of one candidate: chosen, or passed over and why, or never tried because a stronger one served. */
export interface TierReport {
  readonly id: string;
  readonly tier: Tier;
  readonly outcome: 'usable' | 'passed-over' | 'not-tried';
  readonly status?: KeyringProbe['status'];
  readonly lifetime?: Lifetime;
  readonly reason?: string;
  readonly hint?: string;
}
