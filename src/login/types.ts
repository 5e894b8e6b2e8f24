import type { AssertionSource, ClientAuthMethod } from '../credential.ts';
import type { Lifetime, Tier, TierReport } from '../keyring/keyring.ts';
import type { Leniency } from '../oauth/leniency.ts';
import type { Secret } from '../secret.ts';

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
  readonly flow?: 'browser' | 'device' | 'no-browser' | undefined;
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
  readonly requirePersistence?: boolean | undefined;
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
