import type { TransferMode } from '../handover/blob.ts';
import type { LoginOptions, LoginResult } from '../login/types.ts';
import type { Secret } from '../secret.ts';

export interface SendOptions {
  readonly account?: string | undefined;
  /** The code that the other machine shows, as a person gives it. */
  readonly to: string;
  /**
   * `access-token` (the default): it and nothing to renew it with. `fresh`: a login is made now, for the other machine, and
   * not kept here. `move`: the login leaves; `token` says then where it went.
   */
  readonly mode?: TransferMode | undefined;
  /** How long the blob may be opened, in milliseconds. Default 600,000; a day at most; no longer than an access token lives. */
  readonly lifetimeMs?: number | undefined;
  /** For `access-token`: how long to wait for its refresh, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number | undefined;
  /** For `fresh`: how. */
  readonly login?: Omit<LoginOptions, 'account' | 'grant' | 'requirePersistence' | 'signal'> | undefined;
  /** Asks whether the other machine shows the same words; nothing is sealed, and nothing leaves, unless it does. */
  readonly confirm?: ((codeWords: string) => Promise<boolean>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SendResult {
  /** Opens where the code was made, once. It may be seen by anybody. */
  readonly blob: string;
  /** Four words. Both ends show the same ones where the code came over unchanged. */
  readonly codeWords: string;
  /** Four words. The receiver shows the same ones where the blob that it opened is this one. */
  readonly blobWords: string;
  readonly mode: TransferMode;
  readonly resource: string;
  readonly account: string;
  /** Until when the blob may be opened, in milliseconds since the epoch. */
  readonly expiresAt: number;
  /** When the access token in it lapses, in milliseconds since the epoch; absent when the server did not say. */
  readonly tokenExpiresAt?: number | undefined;
  readonly canRefresh: boolean;
  /** Whether this is the blob of a login that had moved before, once more. */
  readonly again: boolean;
}

export interface InviteOptions {
  /** The only server that a login is taken to; any, where not given. */
  readonly resource?: string | undefined;
  /** The only account that it is taken for. */
  readonly account?: string | undefined;
  /** How long the code is good, in milliseconds. Default 600,000; a day at most. */
  readonly lifetimeMs?: number | undefined;
  /** Refuse where the login could only be kept in this process's memory. */
  readonly requirePersistence?: boolean | undefined;
}

export interface HandoverInvitation {
  /** For `send`. Public: with it one can send a login here, and read none. */
  readonly code: string;
  readonly words: string;
  readonly resource: string | undefined;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

export interface ReceiveOptions {
  /** Refuse the login to any other server, whatever was said when the code was made. */
  readonly resource?: string | undefined;
  readonly account?: string | undefined;
  readonly requirePersistence?: boolean | undefined;
  /** Even where there is a login of that name that can be refreshed. An access token alone never replaces one. Default `false`. */
  readonly replace?: boolean | undefined;
  /**
   * Asks, before anything is stored, whether the sender shows the same words, and whether a login that is here may be replaced.
   * Where it answers no, nothing is stored and the code stays good.
   */
  readonly confirm?: ((offer: ReceiveOffer) => Promise<boolean>) | undefined;
}

/** What a blob would bring. */
export interface ReceiveOffer {
  readonly resource: string;
  readonly account: string;
  readonly mode: TransferMode;
  /** Four words. The sender shows the same ones where the blob is the one that it made. */
  readonly words: string;
  /** Whether a login that can be refreshed is here, and would end. */
  readonly replaces: boolean;
}

export interface ReceiveResult extends LoginResult {
  readonly mode: TransferMode;
  readonly blobWords: string;
}

/** The client that a login of another program was made as. */
export interface ExternalClient {
  readonly id: string;
  readonly secret?: Secret | undefined;
  /** Milliseconds since the epoch. */
  readonly secretExpiresAt?: number | undefined;
  /** As the program wrote it; what Holdfast does not know counts as not said. */
  readonly authMethod?: string | undefined;
  readonly redirectUris?: readonly string[] | undefined;
}

/** A login as another program has kept it. What it lacks is found out from the server. */
export interface ExternalLogin {
  /** The program, such as `mcp-remote`. */
  readonly from: string;
  /** The MCP server's URL, in any spelling. */
  readonly resource: string;
  readonly accessToken: Secret;
  readonly refreshToken?: Secret | undefined;
  readonly tokenType?: string | undefined;
  /** Milliseconds since the epoch, both. */
  readonly obtainedAt?: number | undefined;
  readonly expiresAt?: number | undefined;
  readonly scope?: string | undefined;
  readonly requestedScope?: string | undefined;
  readonly client?: ExternalClient | undefined;
  /** Where the program knows them: they must be those that the server names now. */
  readonly issuer?: string | undefined;
  readonly tokenEndpoint?: string | undefined;
}

export interface ImportOptions {
  readonly account?: string | undefined;
  /** Leave the refresh token to the program that has it. Default `false`: the login moves. */
  readonly accessTokenOnly?: boolean | undefined;
  /** Even where there is a good login of that name. Default `false`. */
  readonly replace?: boolean | undefined;
  /**
   * The authorization server that issued the login. It must be the one that the MCP server names. Where neither this nor the
   * program says who issued the login, only the access token is taken.
   */
  readonly issuer?: string | undefined;
  /** Refuse where the login could only be kept in this process's memory. */
  readonly requirePersistence?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The authorization server that an MCP server names now. */
export interface NamedIssuer {
  readonly issuer: string;
  /** Where the refresh token would be sent. */
  readonly tokenEndpoint: string;
}

export interface ImportResult extends LoginResult {
  /** `already`: an earlier call has stored this very login, and it may have been refreshed here since. */
  readonly outcome: 'stored' | 'already';
  /** The server that the refresh token was not entrusted to, because nothing says that it issued the login. */
  readonly unconfirmed?: NamedIssuer | undefined;
}

export interface ExportOptions {
  readonly account?: string | undefined;
  /** `access-token` (the default): nothing to renew it with. `move`: the login leaves; `token` says then that it has. */
  readonly mode?: 'access-token' | 'move' | undefined;
  /** How long to wait for a refresh, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number | undefined;
  /**
   * Takes what leaves. A login that moves ends here when this has returned, and not before; when it throws, everything stays
   * as it was.
   */
  readonly deliver: (exported: ExportedLogin) => Promise<void>;
  readonly signal?: AbortSignal | undefined;
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
