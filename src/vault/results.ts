import type { AssertionSource, ClientAuthMethod } from '../credential.ts';
import type { HoldfastErrorCode } from '../errors.ts';
import type { TransferMode } from '../handover/blob.ts';
import type { Lifetime, Tier, TierReport } from '../keyring/keyring.ts';
import type { Leniency } from '../oauth/leniency.ts';
import type { Secret } from '../secret.ts';
import type { UnseenLease } from '../system/locks/lease-file.ts';
import type { ProofRequest, TokenOptions } from '../tokens/access-token.ts';

export type { VaultEvent } from '../credentials/vault-event.ts';
export type { WarmedLogin, WarmOptions, WarmResult, WarmStates } from '../refresh/warm-options.ts';
export type { AccessToken, ProofRequest, TokenOptions } from '../tokens/access-token.ts';

export interface HeadersOptions extends TokenOptions {
  /** Needed where the token is bound to a key (DPoP): its proof is good for this one request. */
  readonly request?: ProofRequest | undefined;
}

/** The headers that carry a token: `Bearer` (RFC 6750 section 2.1), or `DPoP` with its proof (RFC 9449 section 7.1). */
export type TokenHeaders = { readonly Authorization: string; readonly DPoP?: string };

/** A client that was registered beforehand, by hand or by configuration. */
export interface ClientOptions {
  readonly id: string;
  readonly secret?: Secret | undefined;
  /** PKCS #8 in PEM, for `private_key_jwt`. */
  readonly privateKey?: Secret | undefined;
  /** What the server knows the public half by. */
  readonly keyId?: string | undefined;
  /** Else: `private_key_jwt` with a key; with a secret `client_secret_basic`, or `_post` where only that is listed; else `none`. */
  readonly authMethod?: ClientAuthMethod | undefined;
  /** The issuer that it was registered at; it is used at no other. Not given, the first one that it is used at. */
  readonly issuer?: string | undefined;
}

/** How to get tokens without a person. */
export type GrantOptions =
  /** The client itself is the grant (RFC 6749 section 4.4; MCP extension `oauth-client-credentials`). */
  | { readonly type: 'client_credentials' }
  /** A token of the platform is the grant (RFC 7523 section 2.1; MCP extension `auth/wif`). */
  | { readonly type: 'workload-identity'; readonly assertion: AssertionSource }
  /** The enterprise's identity provider vouches (RFC 8693, RFC 7523; MCP extension `enterprise-managed-authorization`). */
  | {
      readonly type: 'enterprise';
      /** Where the person's ID token comes from. */
      readonly assertion: AssertionSource;
      readonly identityProvider: { readonly issuer: string; readonly tokenEndpoint?: string | undefined };
      /** The client that Holdfast is at the identity provider. */
      readonly identityClient: ClientOptions;
    };

/** Whose page a person logs in at, and who gets what comes of it. Hosts as in a URL, with the port where it is not the default. */
export interface LoginHosts {
  /** The authorization server's: that of its issuer. */
  readonly issuer: string;
  /** That of the page to log in at, or, for a device code, of the server that gives the code. */
  readonly page: string;
}

/** What a person enters, with a browser on any machine (RFC 8628 section 3.3). */
export interface DeviceCode {
  /** The authorization server's host: who asks for the code to be entered. */
  readonly issuerHost: string;
  readonly userCode: string;
  readonly verificationUri: string;
  /** The same with the code in it, for a QR code; absent when the server gave none. */
  readonly verificationUriComplete: string | undefined;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

/** What a login shows while it runs, and how it reaches the person. */
export interface LoginInteraction {
  /** Shows or opens the authorization URL. The login waits for the redirect meanwhile. */
  authorize(url: string, hosts: LoginHosts): Promise<void>;
  /**
   * Asks whether the two hosts belong together, where the server gives no other proof of it. Without it, such a login needs
   * the leniency `splitEndpoints`.
   */
  confirmHosts?(hosts: LoginHosts): Promise<boolean>;
  /** Shows a code and where to enter it. The login waits meanwhile. Without it, no login is made that way. */
  device?(code: DeviceCode): Promise<void>;
  /**
   * Asks for what the browser shows after the login, for when it cannot come back to this machine: the address, or the code
   * in it. Asked again while what was given is of no use, with what was wrong. Ends when `signal` does: the redirect came.
   */
  paste?(ask: { readonly problem: string | undefined; readonly signal: AbortSignal }): Promise<string>;
  /** A step begins; `message` is one plain sentence. */
  progress?(message: string): void;
}

export interface LoginOptions {
  readonly account?: string | undefined;
  /** In place of the settings' and of registering: a client that is known to the authorization server. */
  readonly client?: ClientOptions | undefined;
  /** The URL of our Client ID Metadata Document, for servers that take one in place of a registration. */
  readonly clientMetadataUrl?: string | undefined;
  /** Without a person; the authorization code grant with a browser otherwise. */
  readonly grant?: GrantOptions | undefined;
  /** Bind the tokens to a key (RFC 9449). Done unasked where the resource demands it. */
  readonly dpop?: boolean | undefined;
  readonly lenient?: Leniency | undefined;
  /** Sent along to the MCP server's own origin, and to no other. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /**
   * The `WWW-Authenticate` header that the MCP server has just answered with: its scopes are asked for together with those
   * of the login that is there (step-up).
   */
  readonly challenge?: string | undefined;
  /** Scopes to ask for in place of what the server suggests. */
  readonly scopes?: readonly string[] | undefined;
  /**
   * `browser` (the default): the authorization code grant. `device`: a device code (RFC 8628), or an error where the server
   * has none. `no-browser`: a device code where the server has them, else the authorization code grant with what the
   * interaction offers.
   */
  readonly way?: 'browser' | 'device' | 'no-browser' | undefined;
  /**
   * What is sent as redirect URI in place of the listener's own, for a redirector or a forwarded port: https, or http to the
   * person's machine. `${callbackPort}` in it stands for the port that is listened at.
   */
  readonly callbackUrl?: string | undefined;
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
  /** Needed for every login that a person takes part in. */
  readonly interaction?: LoginInteraction | undefined;
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
  /** How the client came to be known to the server. */
  readonly clientSource: 'dynamic' | 'pre-registered' | 'metadata-document';
  readonly grant: 'authorization_code' | GrantOptions['type'];
  /** `Bearer`, or `DPoP` for tokens that are bound to a key. */
  readonly tokenType: string;
  /** How it came here from another machine, if it did. */
  readonly received?: 'access-token' | 'fresh' | 'move' | undefined;
  /** What this login needed that a strict client refuses. */
  readonly leniencies: readonly string[];
  readonly loggedInAt: number;
  readonly generation: number;
  readonly keyring: string;
  readonly tier: Tier;
  readonly kid: string;
  /** The host names of two machines that use copies of this login at the same time: they will log each other out. */
  readonly machines?: readonly [string, string] | undefined;
}

/** A record that is there and could not be opened from here. */
export interface UnopenedRecord {
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
  readonly unopened: readonly UnopenedRecord[];
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
  readonly unopened: readonly UnopenedRecord[];
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
  readonly removed: readonly UnopenedRecord[];
  /** Records that do not open now and may later, such as under a locked keyring. They stay. */
  readonly kept: readonly UnopenedRecord[];
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
  readonly deadlineMs?: number | undefined;
  /** For `fresh`: how. */
  readonly login?: Omit<LoginOptions, 'account' | 'grant' | 'mustLast' | 'signal'> | undefined;
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
  readonly mustLast?: boolean | undefined;
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
  readonly mustLast?: boolean | undefined;
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
export interface ForeignClient {
  readonly id: string;
  readonly secret?: Secret | undefined;
  /** Milliseconds since the epoch. */
  readonly secretExpiresAt?: number | undefined;
  /** As the program wrote it; what Holdfast does not know counts as not said. */
  readonly authMethod?: string | undefined;
  readonly redirectUris?: readonly string[] | undefined;
}

/** A login as another program has kept it. What it lacks is found out from the server. */
export interface ForeignLogin {
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
  readonly client?: ForeignClient | undefined;
  /** Where the program knows them: they must be those that the server names now. */
  readonly issuer?: string | undefined;
  readonly tokenEndpoint?: string | undefined;
}

export interface AdoptOptions {
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
  readonly mustLast?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The authorization server that an MCP server names now. */
export interface NamedIssuer {
  readonly issuer: string;
  /** Where the refresh token would be sent. */
  readonly tokenEndpoint: string;
}

export interface AdoptResult extends LoginResult {
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
  readonly deadlineMs?: number | undefined;
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
