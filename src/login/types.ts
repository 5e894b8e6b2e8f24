import type { AssertionSource, ClientAuthMethod } from '../credential.ts';
import type { Lifetime, Tier, TierReport } from '../keyring/keyring.ts';
import type { Leniency } from '../oauth/leniency.ts';
import type { Secret } from '../secret.ts';

/** A client that was registered beforehand, by hand or by configuration. */
export interface ClientOptions {
  readonly id: string;
  readonly secret?: Secret;
  /** PKCS #8 in PEM, for `private_key_jwt`. */
  readonly privateKey?: Secret;
  /** The `kid` of the public key at the server. */
  readonly keyId?: string;
  /**
   * Default: `private_key_jwt` with a key; with a secret `client_secret_basic`, or `_post` if the server lists only
   * that; else `none`.
   */
  readonly authMethod?: ClientAuthMethod;
  /**
   * The issuer that the client is registered at, and the only one it is used at. Default: the first issuer that it is
   * used at.
   */
  readonly issuer?: string;
}

/** How to get tokens without a user. */
export type GrantOptions =
  /** The client authenticates itself (RFC 6749 section 4.4; MCP extension `oauth-client-credentials`). */
  | { readonly type: 'client_credentials' }
  /** A token of the platform is the grant (RFC 7523 section 2.1; MCP extension `auth/wif`). */
  | { readonly type: 'workload-identity'; readonly assertion: AssertionSource }
  /**
   * The enterprise's identity provider vouches (RFC 8693, RFC 7523; MCP extension `enterprise-managed-authorization`).
   */
  | {
      readonly type: 'enterprise';
      /** The source of the user's ID token. */
      readonly assertion: AssertionSource;
      readonly identityProvider: { readonly issuer: string; readonly tokenEndpoint?: string | undefined };
      /** Holdfast's client at the identity provider. */
      readonly identityClient: ClientOptions;
    };

/**
 * The hosts of a login: the login page's, and that of the server that issues the tokens. With the port, unless it is
 * the default one.
 */
export interface LoginHosts {
  /** The authorization server's host, taken from its issuer. */
  readonly issuer: string;
  /** The host of the login page or, for a device code, of the server that issues the code. */
  readonly page: string;
}

/** The code that the user enters, with a browser on any machine (RFC 8628 section 3.3). */
export interface DeviceCode {
  /** The host of the authorization server that the user enters the code for. */
  readonly issuerHost: string;
  readonly userCode: string;
  readonly verificationUri: string;
  /** The same page with the code in its URL, for a QR code; absent when the server gave none, or an unsafe one. */
  readonly verificationUriComplete: string | undefined;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

/** Shows the progress of a login, and reaches the user. */
export interface LoginInteraction {
  /** Shows or opens the authorization URL. The login waits for the redirect at the same time. */
  authorize(url: string, hosts: LoginHosts): Promise<void>;
  /**
   * Asks whether the two hosts belong together, if the server proves it in no other way. Without this method, such a
   * login needs the leniency `splitEndpoints`.
   */
  confirmHosts?(hosts: LoginHosts): Promise<boolean>;
  /**
   * Shows a code and the page to enter it on. The login waits meanwhile. Without this method, device codes are not
   * used.
   */
  device?(code: DeviceCode): Promise<void>;
  /**
   * Asks for the address that the browser shows after the login, or for the code in it, in case the redirect cannot
   * reach this machine. Asks again, with the `problem`, while the text is unusable. `signal` aborts when the wait is
   * over, for example because the redirect came.
   */
  paste?(ask: { readonly problem: string | undefined; readonly signal: AbortSignal }): Promise<string>;
  /** Called when a step begins; `message` is one plain sentence. */
  progress?(message: string): void;
}

export interface LoginOptions {
  readonly account?: string;
  /** A client that the authorization server knows. Overrides the settings, and no client is registered. */
  readonly client?: ClientOptions;
  /** URL of a Client ID Metadata Document, for servers that accept one in place of a registration. */
  readonly clientMetadataUrl?: string;
  /** Log in without a user. Default: the authorization code grant with a browser. */
  readonly grant?: GrantOptions;
  /** Bind the tokens to a key (RFC 9449). Default: only if the resource requires it. */
  readonly dpop?: boolean;
  readonly lenient?: Leniency;
  /** Sent only to the MCP server's own origin. */
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * The `WWW-Authenticate` header of the MCP server's last response. The login requests its scopes together with those
   * of the stored login (step-up).
   */
  readonly challenge?: string;
  /** Scopes to request in place of those that the server suggests. */
  readonly scopes?: readonly string[];
  /**
   * `browser` (the default): the authorization code grant. `device`: a device code (RFC 8628), or an error if the
   * server offers none. `no-browser`: a device code if the server offers them, else the authorization code grant with
   * the methods of the interaction.
   */
  readonly flow?: 'browser' | 'device' | 'no-browser';
  /**
   * Sent as redirect URI in place of the listener's own, for a redirector or a forwarded port: https, or http to the
   * user's machine. `${callbackPort}` stands for the port that Holdfast listens on.
   */
  readonly callbackUrl?: string;
  /** A fixed port for the redirect to 127.0.0.1. Default: a free port. */
  readonly callbackPort?: number;
  /** Time limit for the user, in milliseconds. Default 300,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /**
   * Refuse, before any prompt, a login that only this process's memory could hold. Default `false`: the login stays in
   * memory, and a `memory-only` event reports it.
   */
  readonly requirePersistence?: boolean;
  /** Required for every login with a user. */
  readonly interaction?: LoginInteraction;
}

export interface LoginResult {
  readonly credential: CredentialSummary;
  readonly keyring: { readonly id: string; readonly tier: Tier; readonly lifetime: Lifetime };
  /** Every keyring that was considered, the strongest first, and why it was skipped. */
  readonly tiers: readonly TierReport[];
}

/**
 * Fresh: the token is valid. Stale: the token has expired and can be refreshed. Refreshing: a process refreshes it now.
 * Login-required: the user must log in again.
 */
export type CredentialState = 'fresh' | 'stale' | 'refreshing' | 'login-required';

/** The part of a credential that may be shown: never a secret. */
export interface CredentialSummary {
  readonly resource: string;
  readonly account: string;
  readonly state: CredentialState;
  /** For `login-required`: the reason, and the time since (milliseconds since the epoch). */
  readonly reason?: string | undefined;
  readonly since?: number | undefined;
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number | undefined;
  readonly canRefresh: boolean;
  readonly scopes: readonly string[];
  readonly issuer: string;
  readonly clientId: string;
  /** How the client was registered at the server. */
  readonly clientSource: 'dynamic' | 'pre-registered' | 'metadata-document';
  readonly grant: 'authorization_code' | GrantOptions['type'];
  /** `Bearer`, or `DPoP` for tokens that are bound to a key. */
  readonly tokenType: string;
  /** How this login came from another machine, if it did. */
  readonly received?: 'access-token' | 'fresh' | 'move' | undefined;
  /** The leniencies that this login needed and that a strict client refuses. */
  readonly leniencies: readonly string[];
  readonly loggedInAt: number;
  readonly generation: number;
  readonly keyring: string;
  readonly tier: Tier;
  readonly kid: string;
  /** The host names of two machines that use copies of this login at the same time: they will log each other out. */
  readonly machines?: readonly [string, string] | undefined;
}
