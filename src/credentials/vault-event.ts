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
  readonly hint?: string | undefined;
}
