import type { HoldfastErrorCode } from '../errors.ts';
import type { CredentialSummary } from '../login/types.ts';
import type { UnseenLease } from '../system/locks/lease-file.ts';

/** The URL of an engine that many machines share. */
export type EngineUrl = `${'postgres' | 'postgresql' | 'redis' | 'rediss'}://${string}`;

/** The stores that have a name. */
export type StoreName = 'directory' | 'docker-agent' | EngineUrl;

/** A record that exists and could not be opened here. */
export interface UndecryptableRecord {
  readonly id: string;
  readonly kid: string;
  readonly code: HoldfastErrorCode;
  readonly reason: string;
  readonly hint: string | undefined;
  /** The absolute path of its file, if the store has one file for each record. */
  readonly file?: string | undefined;
}

export interface Listing {
  readonly credentials: readonly CredentialSummary[];
  readonly undecryptable: readonly UndecryptableRecord[];
  /** Leases of processes that cannot be seen from here, if lease files serve as locks. */
  readonly unseenLeases?: readonly UnseenLease[] | undefined;
}

export interface LogoutOptions {
  readonly account?: string;
  readonly signal?: AbortSignal;
}

export interface LogoutResult {
  /** Number of removed records: one for each keyring that had sealed this login. */
  readonly removed: number;
  /** The authorization server's answer to the revocation (RFC 7009). `nothing`: there was nothing to revoke. */
  readonly revocation: 'revoked' | 'not-offered' | 'failed' | 'nothing';
  /** The reason for `failed`. */
  readonly reason?: string | undefined;
  /** Records of this login that could not be opened here, and stay. */
  readonly undecryptable: readonly UndecryptableRecord[];
  /** If no login was found: a URL with a login that differs only by a trailing slash. */
  readonly near?: string | undefined;
}

export interface ForgetOptions {
  readonly account?: string;
  readonly signal?: AbortSignal;
  /**
   * Called for one login when a keyring that may have its key is unreachable; `why` is a sentence. The default is no.
   */
  readonly confirm?: (why: string) => Promise<boolean>;
}

export interface ForgetResult {
  /** Records that no key could open, and that are removed. Their tokens were not revoked: no one can read them. */
  readonly removed: readonly UndecryptableRecord[];
  /** Records that cannot be opened now but may be later, for example under a locked keyring. They stay. */
  readonly kept: readonly UndecryptableRecord[];
}

export interface RekeyOptions {
  /**
   * The keyring or tier to move every login to: `native`, `file`, or a keyring's id. Without it, the keyrings get new
   * keys.
   */
  readonly to?: string;
  readonly signal?: AbortSignal;
}

export interface RekeyResult {
  /** The keyrings whose keys seal the logins now. */
  readonly keyrings: readonly string[];
  /** Number of re-encrypted logins. */
  readonly moved: number;
  /** Logins that stay unchanged, and why. */
  readonly left: readonly {
    readonly resource: string;
    readonly account: string;
    readonly keyring: string;
    readonly reason: string;
  }[];
  /** Records that could not be opened here, and stay. */
  readonly undecryptable: readonly UndecryptableRecord[];
}
