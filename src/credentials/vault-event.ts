import type { HoldfastErrorCode } from '../errors.ts';

/** An event for programs and people that no caller waits for: a fallback, a retry, a record moved aside. */
export interface VaultEvent {
  readonly type:
    | 'memory-only'
    | 'quarantined'
    | 'refresh-retry'
    | 'unpersisted'
    | 'revoked'
    | 'leniency'
    | 'redirect-refused'
    | 'undecryptable'
    | 'store-away'
    | 'store-back';
  readonly message: string;
  readonly hint?: string;
  /** The login that it concerns; absent when it concerns none, or one that cannot be opened. */
  readonly resource?: string;
  readonly account?: string;
  /** The code of the error behind it, if there is one. */
  readonly code?: HoldfastErrorCode;
}
