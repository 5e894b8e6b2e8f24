import type { TransferMode } from '../handover/transfer-mode.ts';
import type { LoginOptions, LoginResult } from '../login/types.ts';
import type { Secret } from '../secret.ts';

export interface SendOptions {
  readonly account?: string;
  /** The code that the other machine shows, as the user typed it. */
  readonly to: string;
  /**
   * `access-token` (the default): the access token, without refresh token. `fresh`: a new login for the other machine,
   * not stored here. `move`: the login leaves, and `token` then reports where it went.
   */
  readonly mode?: TransferMode;
  /**
   * How long the blob may be opened, in milliseconds. Default 600,000; one day at most; no longer than an access token
   * lives.
   */
  readonly lifetimeMs?: number;
  /** For `access-token`: time limit for its refresh, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number;
  /** For `fresh`: the options of the new login. */
  readonly login?: Omit<LoginOptions, 'account' | 'grant' | 'requirePersistence' | 'signal'>;
  /** Asks whether the other machine shows the same words. If not, nothing is sealed and nothing leaves. */
  readonly confirm?: (codeWords: string) => Promise<boolean>;
  readonly signal?: AbortSignal;
}

export interface SendResult {
  /** Opens once, only where the code was made. It is safe to show. */
  readonly blob: string;
  /** Four check words. Both ends show the same ones if the code arrived unchanged. */
  readonly codeWords: string;
  /** Four check words. The receiver shows the same ones if it opened this blob. */
  readonly blobWords: string;
  readonly mode: TransferMode;
  readonly resource: string;
  readonly account: string;
  /** The blob may be opened until this time, in milliseconds since the epoch. */
  readonly expiresAt: number;
  /** When its access token expires, in milliseconds since the epoch; absent when the server did not say. */
  readonly tokenExpiresAt?: number | undefined;
  readonly canRefresh: boolean;
  /** Whether this repeats the blob of a login that had already moved. */
  readonly again: boolean;
}

export interface InviteOptions {
  /** The only server whose login is accepted. Default: any. */
  readonly resource?: string;
  /** The only account that is accepted. */
  readonly account?: string;
  /** Lifetime of the code, in milliseconds. Default 600,000; one day at most. */
  readonly lifetimeMs?: number;
  /** Refuse a login that only this process's memory could hold. */
  readonly requirePersistence?: boolean;
}

export interface HandoverInvitation {
  /** For `send`. It is safe to share: with it, others can send a login here, but read none. */
  readonly code: string;
  readonly words: string;
  readonly resource: string | undefined;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

export interface ReceiveOptions {
  /** Refuse a login to any other server. The limits of the code itself apply too. */
  readonly resource?: string;
  readonly account?: string;
  readonly requirePersistence?: boolean;
  /** Replace a login of that name that can be refreshed. An access token alone never replaces one. Default `false`. */
  readonly replace?: boolean;
  /**
   * Asks, before anything is stored, whether the sender shows the same words, and whether the stored login may be
   * replaced. If the user declines, nothing is stored and the code stays valid.
   */
  readonly confirm?: (offer: ReceiveOffer) => Promise<boolean>;
}

/** The content of a blob. */
export interface ReceiveOffer {
  readonly resource: string;
  readonly account: string;
  readonly mode: TransferMode;
  /** Four check words. The sender shows the same ones if this is the blob that it made. */
  readonly words: string;
  /** Whether this would end a stored login that can be refreshed. */
  readonly replaces: boolean;
}

export interface ReceiveResult extends LoginResult {
  readonly mode: TransferMode;
  readonly blobWords: string;
}

/** The client that the other program logged in with. */
export interface ExternalClient {
  readonly id: string;
  readonly secret?: Secret | undefined;
  /** Milliseconds since the epoch. */
  readonly secretExpiresAt?: number | undefined;
  /** As the program wrote it; a value that Holdfast does not know counts as absent. */
  readonly authMethod?: string | undefined;
  readonly redirectUris?: readonly string[] | undefined;
}

/** A login as another program stored it. Discovery supplies the missing data. */
export interface ExternalLogin {
  /** The program, such as `mcp-remote`. */
  readonly from: string;
  /** The MCP server's URL, in any spelling. */
  readonly resource: string;
  readonly accessToken: Secret;
  readonly refreshToken?: Secret | undefined;
  readonly tokenType?: string | undefined;
  /** Milliseconds since the epoch; so is `expiresAt`. */
  readonly obtainedAt?: number | undefined;
  readonly expiresAt?: number | undefined;
  readonly scope?: string | undefined;
  readonly requestedScope?: string | undefined;
  readonly client?: ExternalClient | undefined;
  /** As the program recorded them: both must match what the server names now. */
  readonly issuer?: string | undefined;
  readonly tokenEndpoint?: string | undefined;
}

export interface ImportOptions {
  readonly account?: string;
  /** Leave the refresh token in the program that has it. Default `false`: the login moves. */
  readonly accessTokenOnly?: boolean;
  /** Replace a working login of that name. Default `false`. */
  readonly replace?: boolean;
  /**
   * The authorization server that issued the login. It must be the one that the MCP server names. If neither this
   * option nor the program names the issuer, only the access token is imported.
   */
  readonly issuer?: string;
  /** Refuse a login that only this process's memory could hold. */
  readonly requirePersistence?: boolean;
  readonly signal?: AbortSignal;
}

/** The authorization server that an MCP server names now. */
export interface NamedIssuer {
  readonly issuer: string;
  /** The endpoint that would get the refresh token. */
  readonly tokenEndpoint: string;
}

export interface ImportResult extends LoginResult {
  /** `already`: an earlier call stored this same login, and it may have been refreshed here since. */
  readonly outcome: 'stored' | 'already';
  /** The server that did not get the refresh token, because nothing confirms that it issued the login. */
  readonly unconfirmed?: NamedIssuer | undefined;
}

export interface ExportOptions {
  readonly account?: string;
  /** `access-token` (the default): without refresh token. `move`: the login leaves, and `token` then reports that. */
  readonly mode?: 'access-token' | 'move';
  /** Time limit for a refresh, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number;
  /**
   * Takes the exported login. A login that moves ends here only after this has resolved; if it throws, everything stays
   * as it was.
   */
  readonly deliver: (exported: ExportedLogin) => Promise<void>;
  readonly signal?: AbortSignal;
}

export interface ExportedLogin {
  /** The documented JSON (docs/interop.md). */
  readonly json: Secret;
  readonly accessToken: Secret;
  readonly resource: string;
  readonly account: string;
  /** Milliseconds since the epoch; absent when the server did not say. */
  readonly expiresAt?: number | undefined;
  readonly canRefresh: boolean;
}

/** The content and path of another program's file. */
export interface ExternalFile {
  /** The program, such as `mcp-remote`. */
  readonly from: string;
  /** Absolute. */
  readonly path: string;
  readonly text: Secret;
}

export interface Backup extends ExternalFile {
  /** Distinguishes this backup from the others. */
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface Backups {
  /** Newest first. */
  readonly backups: readonly Backup[];
  /** Number of backups that no reachable key opens. */
  readonly undecryptable: number;
}
