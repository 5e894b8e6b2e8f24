import { TokenRenewedError } from '../errors.ts';
import type { Vault } from '../vault/vault.ts';
import { authorizedFetch } from './fetch.ts';
import { IssuedTokens } from './issued-tokens.ts';
import { lacksItsProof, refusesItsTokens } from './login-needed.ts';
import type { AuthorizedFetchOptions, Fetch } from './options.ts';
import { Session } from './session.ts';

/** The part of a login that an SDK receives. The refresh token stays in the vault. */
export interface ProvidedTokens {
  readonly access_token: string;
  readonly token_type: string;
  /** Seconds. */
  readonly expires_in?: number;
  readonly scope?: string;
  /** The issuing authorization server. The SDKs check it before they use the tokens. */
  readonly issuer?: string;
}

/**
 * An `OAuthClientProvider` for `@modelcontextprotocol/sdk` 1.x, `@modelcontextprotocol/client` 2.x and `@ai-sdk/mcp`.
 * The SDKs' types require the members that serve an SDK's own login; here these members stop that login.
 */
export interface VaultOAuthProvider {
  /** A valid access token; `undefined` when none exists and a login is possible once the server asks for it. */
  tokens(): Promise<ProvidedTokens | undefined>;
  /**
   * Handles the SDK's report that credentials are invalid. For `tokens`, the vault refreshes the SDK's generation once,
   * at the next `tokens()`, unless another process already did. Nothing is ever deleted, since other processes use it
   * too.
   */
  invalidateCredentials(
    scope: 'all' | 'client' | 'tokens' | 'verifier' | 'discovery',
    context?: { readonly tokens: { readonly access_token: string } },
  ): Promise<void>;
  /**
   * The same login as a `fetch` (`authorizedFetch`, with `onInsufficientScope: 'throw'` by default). Passed to the
   * transport together with the provider, it handles a 401 and a 403 before the SDK sees them.
   */
  readonly fetch: Fetch;

  readonly redirectUrl: string;
  readonly clientMetadata: { redirect_uris: string[]; client_name: string };
  clientInformation(): Promise<undefined>;
  isClientInformationDynamicallyRegistered(): boolean;
  discoveryState(): Promise<never>;
  validateResourceURL(): Promise<never>;
  saveTokens(): Promise<never>;
  redirectToAuthorization(): Promise<never>;
  saveCodeVerifier(): Promise<never>;
  codeVerifier(): Promise<never>;
}

/** A redirect to this machine (RFC 8252 section 7.3). No SDK ever uses it. */
const REDIRECT_URL = 'http://127.0.0.1/callback';

/** A second refusal within this time of a refresh means that the refresh was ineffective, in milliseconds. */
const SOON_MS = 60_000;

/**
 * A login of the vault for SDKs that need an `OAuthClientProvider`:
 *
 *     const provider = oauthClientProvider(vault, url);
 *     new StreamableHTTPClientTransport(new URL(url), { authProvider: provider, fetch: provider.fetch });
 *
 * The SDK never logs in and never refreshes. The vault does so in `tokens()`, and `provider.fetch` handles the server's
 * refusals. An SDK without `provider.fetch` starts its own login on a 401. The vault then refreshes the refused token
 * (or logs in, if it may), and the SDK's call fails with a `TokenRenewedError`. That error is `retryable`: the same
 * call succeeds when repeated. When only a person can help and `interaction` is not set, the call fails with
 * `LoginRequiredError`, whose `hint` is the command to run. No browser opens unless the caller asked for it.
 *
 * @param resource the MCP server's URL
 * @throws InvalidArgumentError for an invalid resource or account
 */
export function oauthClientProvider(
  vault: Vault,
  resource: string,
  options: AuthorizedFetchOptions = {},
): VaultOAuthProvider {
  const session = new Session(vault, resource, options);
  const handed = new IssuedTokens();
  let refused: number | undefined;
  let renewed: { readonly generation: number; readonly at: number } | undefined;

  /**
   * Stops the login that the SDK starts on its own: the vault refreshes or logs in instead, and the SDK's call ends.
   */
  const takeOver = async (): Promise<never> => {
    await session.settled(undefined);
    if ((await session.token(undefined))?.proof !== undefined) throw lacksItsProof(session.id);
    const about = handed.refused();
    if (renewed !== undefined && renewed.generation === about && performance.now() - renewed.at < SOON_MS) {
      throw refusesItsTokens(session.id);
    }
    const access = (await session.token(undefined, about)) ?? (await session.logIn(undefined, undefined));
    renewed = { generation: access.generation, at: performance.now() };
    throw new TokenRenewedError(`The access token for ${session.id.resource} was renewed.`, {
      hint: 'Make the same call again. With `fetch: provider.fetch` in the transport’s options that is done for you.',
    });
  };

  return {
    fetch: authorizedFetch(vault, resource, { onInsufficientScope: 'throw', ...options }),
    tokens: async () => {
      const asked = refused;
      const access = await session.token(undefined, asked);
      if (refused === asked) refused = undefined;
      if (access === undefined) return undefined;
      handed.add(access);
      return {
        access_token: access.token.reveal(),
        token_type: access.tokenType,
        ...(access.expiresAt !== undefined && {
          expires_in: Math.max(0, Math.floor((access.expiresAt - Date.now()) / 1000)),
        }),
        ...(access.grantedScope !== undefined && { scope: access.grantedScope }),
        issuer: access.issuer,
      };
    },
    invalidateCredentials: async (scope, context) => {
      if (scope !== 'tokens') return;
      if (context === undefined) {
        refused = handed.refused();
        return;
      }
      const current = await session.token(undefined);
      // Unless another caller or process has replaced the token in the meantime.
      if (current?.token.reveal() === context.tokens.access_token) refused = current.generation;
    },
    redirectUrl: REDIRECT_URL,
    clientMetadata: { client_name: 'Holdfast', redirect_uris: [REDIRECT_URL] },
    clientInformation: takeOver,
    isClientInformationDynamicallyRegistered: () => false,
    discoveryState: takeOver,
    validateResourceURL: takeOver,
    saveTokens: takeOver,
    redirectToAuthorization: takeOver,
    saveCodeVerifier: takeOver,
    codeVerifier: takeOver,
  };
}
