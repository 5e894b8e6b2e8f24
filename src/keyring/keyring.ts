/**
 * How long a keyring's items last, the longest first. `disk`: until deleted. `boot`: until the next boot. `three-days`:
 * until three days after the last use, or the next boot. `session`: until the last process of the login session ends.
 * `process`: until this process ends. Only `process` is too short to save a login.
 */
export type Lifetime = (typeof LIFETIMES)[number];

export const LIFETIMES = ['disk', 'boot', 'three-days', 'session', 'process'] as const;

/** The lifetime as the end of a sentence such as "It lasts …". */
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
 * The tiers, strongest first. `native` is the operating system's own. `shared` is never auto-detected: an operator
 * gives one key to many machines.
 */
export type Tier = 'native' | 'file' | 'memory' | 'shared';

/**
 * The result of a probe. Absent, locked, denied and broken are four different answers. A locked keyring is never
 * reported as empty, because the next step after "empty" would be a new login over a good one.
 */
export type KeyringProbe =
  | { readonly status: 'usable'; readonly lifetime: Lifetime }
  | {
      readonly status: 'absent' | 'locked' | 'denied' | 'broken';
      /** The reason as a sentence, without a secret. */
      readonly reason: string;
      /** The fix that would make it usable. */
      readonly hint: string;
      /** The underlying error, if it says more. */
      readonly cause?: unknown;
    };

/**
 * A keyring stores small secrets; Holdfast stores only its sealing key there.
 *
 * Failure protocol, the same for every keyring:
 * - The item does not exist: `get` returns `undefined`, `delete` returns `false`; neither creates anything.
 * - The keyring is absent, locked, refuses or fails: `KeyringAbsentError`, `KeyringLockedError`, `KeyringDeniedError`,
 *   `KeyringBrokenError`.
 * - The item exists but is damaged: `KeyringBrokenError`, and the item stays unchanged.
 *
 * Every call ends within the keyring's own deadline and never prompts. The exported suite `keyringContract`
 * (`holdfast/testing`) tests these duties.
 */
export interface Keyring {
  /** The name by which a user chooses it: `secret-service`, `keychain`, `keyctl:user`, `file`, `memory` … */
  readonly id: string;
  readonly tier: Tier;
  /** Whether a secret could be read and written now. Never prompts, never creates, never throws. */
  probe(): Promise<KeyringProbe>;
  /** Reads the secret of that name; `undefined` if it does not exist. */
  get(name: string): Promise<Uint8Array | undefined>;
  /** Stores the secret under that name and replaces an existing one. Durable on return, if the keyring is. */
  set(name: string, secret: Uint8Array): Promise<void>;
  /** Deletes the secret; `false` if it does not exist. */
  delete(name: string): Promise<boolean>;
  /** Present if only others write secrets; `set` and `delete` then explain how. */
  readonly readOnly?: true;
  /**
   * Like `set`, but only if the stored secret equals `expected` (`undefined`: none stored); otherwise returns `false`.
   * Present when other machines write too, since this machine's locks do not stop them.
   */
  setIf?(name: string, expected: Uint8Array | undefined, secret: Uint8Array): Promise<boolean>;
  /**
   * Drops the cached secret, so that the next `get` reads it again. Present when others change the item while this
   * process runs. Such a keyring is read each time and does its own caching.
   *
   * @param readBefore in milliseconds on the monotonic clock
   * @returns `false` if the keyring has already read the item again since then
   */
  forget?(readBefore: number): boolean;
  /** Frees connections and timers, so that the process can end. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * One candidate of the resolution. If `open` returns `undefined` or throws, the keyring is unavailable here. Then the
 * next candidate is tried and the reason is recorded.
 */
export interface KeyringOpener {
  readonly id: string;
  readonly tier: Tier;
  /** Skipped unless the user names it. */
  readonly onlyWhenNamed?: boolean;
  /** A failure, at opening or later, may disappear automatically, so every use retries and no failure is cached. */
  readonly mayRecover?: boolean;
  /**
   * The id of a stronger keyring that shares the same storage if both exist. While that keyring works, this one is
   * skipped.
   */
  readonly servedBy?: string;
  open(): Promise<Keyring | undefined>;
}

/** The result for one candidate: used, skipped with a reason, or not tried because a stronger one worked. */
export interface TierReport {
  readonly id: string;
  readonly tier: Tier;
  readonly outcome: 'usable' | 'passed-over' | 'not-tried';
  readonly status?: KeyringProbe['status'];
  readonly lifetime?: Lifetime;
  readonly reason?: string;
  readonly hint?: string;
}
