import type { HoldfastErrorCode } from '../errors.ts';
import type { CredentialSummary } from '../login/types.ts';
import type { UnseenLease } from '../system/locks/lease-file.ts';

/** A record that is there and could not be opened from here. */
export interface UndecryptableRecord {
  readonly id: string;
  readonly kid: string;
  readonly code: HoldfastErrorCode;
  readonly reason: string;
  readonly hint: string | undefined;
  /** The file that it is in, as an absolute path, where the store has one for each. */
  readonly file?: string | undefined;
}

export interface Listing {
  readonly credentials: readonly CredentialSummary[];
  readonly undecryptable: readonly UndecryptableRecord[];
  /** Leases that are held by a process which cannot be seen from here, where a lease file serves as the lock. */
  readonly unseenLeases?: readonly UnseenLease[] | undefined;
}

export interface LogoutOptions {
  readonly account?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface LogoutResult {
  /** How many records were removed: one for each keyring that had sealed this login. */
  readonly removed: number;
  /** What the authorization server said of the revocation (RFC 7009). `nothing`: there was nothing to revoke. */
  readonly revocation: 'revoked' | 'not-offered' | 'failed' | 'nothing';
  /** For `failed`: why. */
  readonly reason?: string | undefined;
  /** Records of this login that could not be opened from here, and stay. */
  readonly undecryptable: readonly UndecryptableRecord[];
  /** Where nothing was found: a URL that has a login, and differs by a slash at its end alone. */
  readonly near?: string | undefined;
}

export interface ForgetOptions {
  readonly account?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Asked for one login, where a keyring that may have its key is out of reach; `why` is a sentence. No, if not given. */
  readonly confirm?: ((why: string) => Promise<boolean>) | undefined;
}

export interface ForgetResult {
  /** Records that no key opened, and that are removed. Their tokens were not revoked: nobody can read them. */
  readonly removed: readonly UndecryptableRecord[];
  /** Records that do not open now and may later, such as under a locked keyring. They stay. */
  readonly kept: readonly UndecryptableRecord[];
}

export interface RekeyOptions {
  /** The keyring, or tier, to move every login to: `native`, `file`, or one by name. New keys in place when not given. */
  readonly to?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RekeyResult {
  /** The keyrings whose key the logins are sealed under now. */
  readonly keyrings: readonly string[];
  /** How many logins were sealed anew. */
  readonly moved: number;
  /** Logins that stay as they were, and why. */
  readonly left: readonly {
    readonly resource: string;
    readonly account: string;
    readonly keyring: string;
    readonly reason: string;
  }[];
  /** Records that could not be opened from here, and stay. */
  readonly undecryptable: readonly UndecryptableRecord[];
}
