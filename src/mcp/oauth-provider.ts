import { TokenRenewedError } from '../errors.ts';
import type { Vault } from '../vault/vault.ts';
import { type AuthorizedFetchOptions, authorizedFetch } from './fetch.ts';
import { IssuedTokens } from './issued-tokens.ts';
import { lacksItsProof, refusesItsTokens } from './login-needed.ts';
import type { Fetch } from './outgoing.ts';
import { Session } from './session.ts';

/** What an SDK is given of a login. The refresh token stays in the vault. */
export interface ProvidedTokens {
  readonly access_token: string;
  readonly token_type: string;
  /** Seconds. */
  readonly expires_in?: number;
  readonly scope?: string;
  /** The authorization server that issued them, which the SDKs check before they use them for anything. */
  readonly issuer?: string;
}

/**
 * An `OAuthClientProvider` for `@modelcontextprotocol/sdk` 1.x, `@modelcontextprotocol/client` 2.x and `@ai-sdk/mcp`. The
 * members that only serve an SDK's own login are there because the SDKs' types ask for them, and end it.
 */
export interface VaultOAuthProvider {
  /** A valid access token; `undefined` when there is none and a login can be made once the server asks for it. */
  tokens(): Promise<ProvidedTokens | undefined>;
  /**
   * What the SDK says is not valid any more. `tokens`: the generation that it holds is renewed when it next asks, by the vault
   * and once, unless somebody has renewed it already. Nothing is ever deleted, since other processes use it too.
   */
  invalidateCredentials(
    scope: 'all' | 'client' | 'tokens' | 'verifier' | 'discovery',
    context?: { readonly tokens: { readonly access_token: string } },
  ): Promise<void>;
  /**
   * The same login as a `fetch` (`authorizedFetch`, with `onInsufficientScope: 'throw'` unless told otherwise). Given to the
   * transport together with the provider, it answers a 401 and a 403 before the SDK hears of them.
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

/** A redirect to this machine (RFC 8252 section 7.3), which no SDK gets to use. */
const REDIRECT_URL = 'http://127.0.0.1/callback';

/** How soon after a renewal another refusal means that it was of no use, in milliseconds. */
const SOON_MS = 60_000;

/**
 * A login of the vault for SDKs that want an `OAuthClientProvider`:
 *
 *     const provider = oauthClientProvider(vault, url);
 *     new StreamableHTTPClientTransport(new URL(url), { authProvider: provider, fetch: provider.fetch });
 *
 * The SDK never logs in and never refreshes: `tokens()` has the vault do it, and `provider.fetch` answers what the server
 * refuses. An SDK that does not use `provider.fetch` starts its own login on a 401; then the vault renews the token that was
 * refused (or logs in, where it may), and the SDK's call fails with a `TokenRenewedError`, which is `retryable`: the same call
 * succeeds when made again. When only a person can help and `interaction` is not given, it fails with `LoginRequiredError`,
 * whose `hint` is the command to run. No browser is opened that was not asked for.
 *
 * @param resource the MCP server's URL
 * @throws InvalidArgumentError for a resource or account that cannot be one
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

  /** The SDK sets out to log in by itself: the vault does what there is to do, and the SDK goes no further. */
  const takeOver = async (): Promise<never> => {
    await session.settled(undefined);
    if ((await session.token(undefined))?.proof !== undefined) throw lacksItsProof(session.name);
    const about = handed.refused();
    if (renewed !== undefined && renewed.generation === about && performance.now() - renewed.at < SOON_MS) {
      throw refusesItsTokens(session.name);
    }
    const access = (await session.token(undefined, about)) ?? (await session.logIn(undefined, undefined));
    renewed = { generation: access.generation, at: performance.now() };
    throw new TokenRenewedError(`The access token for ${session.name.resource} was renewed.`, {
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
      // Unless someone has put another one in its place meanwhile.
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
