import type { HoldfastErrorCode } from '../errors.ts';
import type { Lifetime, Tier, TierReport } from '../keyring/keyring.ts';
import type { Secret } from '../secret.ts';

export interface TokenOptions {
  readonly account?: string | undefined;
  /** How long to wait for another process's refresh and for the network, in milliseconds. Default 60,000. */
  readonly deadlineMs?: number | undefined;
  /** Ends the caller's wait. A refresh that is under way goes on for the others who wait for it. */
  readonly signal?: AbortSignal | undefined;
  /**
   * The `generation` of a token that the MCP server has just answered with 401 (RFC 6750 section 3.1). If it is still the
   * newest, it is refreshed before its time, and bounded: after five within a minute that helped nothing, the call fails.
   */
  readonly refused?: number | undefined;
}

export interface AccessToken {
  readonly token: Secret;
  readonly tokenType: string;
  /** Milliseconds since the epoch; `undefined` when the server did not say. */
  readonly expiresAt: number | undefined;
  readonly generation: number;
}

/** What a login shows while it runs, and how it reaches the person. */
export interface LoginInteraction {
  /** Shows or opens the authorization URL. The login waits for the redirect meanwhile. */
  authorize(url: string): Promise<void>;
  /** A step begins; `message` is one plain sentence. */
  progress?(message: string): void;
}

export interface LoginOptions {
  readonly account?: string | undefined;
  /** Scopes to ask for in place of what the server suggests. */
  readonly scopes?: readonly string[] | undefined;
  /** A fixed port for the redirect on 127.0.0.1; a free one otherwise. */
  readonly callbackPort?: number | undefined;
  /** How long the person may take, in milliseconds. Default 300,000. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Refuse, before the person is asked anything, where the login could only be kept in this process's memory.
   * Default `false`: it is kept there, and a `memory-only` event says so.
   */
  readonly mustLast?: boolean | undefined;
  readonly interaction: LoginInteraction;
}

export interface LoginResult {
  readonly credential: CredentialSummary;
  readonly keyring: { readonly id: string; readonly tier: Tier; readonly lifetime: Lifetime };
  /** Every keyring that was considered, the strongest first, and why it was passed over. */
  readonly tiers: readonly TierReport[];
}

/**
 * Fresh: the token is good. Stale: it lapsed and can be refreshed. Refreshing: someone is at it now. Login-required: only a
 * person can mend it.
 */
export type CredentialState = 'fresh' | 'stale' | 'refreshing' | 'login-required';

/** What may be shown of a credential: never a secret. */
export interface CredentialSummary {
  readonly resource: string;
  readonly account: string;
  readonly state: CredentialState;
  /** For `login-required`: why, and since when (milliseconds since the epoch). */
  readonly reason?: string | undefined;
  readonly since?: number | undefined;
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number | undefined;
  readonly canRefresh: boolean;
  readonly scopes: readonly string[];
  readonly issuer: string;
  readonly clientId: string;
  readonly loggedInAt: number;
  readonly generation: number;
  readonly keyring: string;
  readonly tier: Tier;
  readonly kid: string;
}

/** A record that is there and could not be opened from here. */
export interface UnopenedRecord {
  readonly id: string;
  readonly kid: string;
  readonly code: HoldfastErrorCode;
  readonly reason: string;
  readonly hint: string | undefined;
}

export interface Listing {
  readonly credentials: readonly CredentialSummary[];
  readonly unopened: readonly UnopenedRecord[];
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
  readonly unopened: readonly UnopenedRecord[];
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
  readonly unopened: readonly UnopenedRecord[];
}

/** What other programs and people should know, and no caller waits for: a fallback, a retry, a record moved aside. */
export interface VaultEvent {
  readonly type: 'memory-only' | 'quarantined' | 'refresh-retry' | 'unpersisted';
  readonly message: string;
  readonly hint?: string | undefined;
}
