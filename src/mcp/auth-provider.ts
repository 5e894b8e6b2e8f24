import type { Vault } from '../vault/vault.ts';
import { authorizedFetch } from './fetch.ts';
import { IssuedTokens } from './issued-tokens.ts';
import { lacksItsProof, refusesItsTokens } from './login-needed.ts';
import type { AuthorizedFetchOptions, Fetch } from './options.ts';
import { Session } from './session.ts';

/** An `AuthProvider` of `@modelcontextprotocol/client` 2.x, and the `fetch` for the same login. */
export interface VaultAuthProvider {
  /** A valid access token; `undefined` when none exists and a login is possible once the server asks for it. */
  token(): Promise<string | undefined>;
  /** Handles a 401: refreshes the token or logs in. The transport then sends the request again. */
  onUnauthorized(context: { readonly response: Response }): Promise<void>;
  /**
   * The same login as a `fetch` (`authorizedFetch`, with `onInsufficientScope: 'throw'` by default). Passed to the
   * transport together with the provider, it adds features that the SDK alone lacks: DPoP, more scopes after a 403, and
   * a login when a refreshed token is refused too.
   */
  readonly fetch: Fetch;
}

/**
 * A login of the vault for the transports of the MCP TypeScript SDK 2.x:
 *
 *     const provider = authProvider(vault, url);
 *     new StreamableHTTPClientTransport(new URL(url), { authProvider: provider, fetch: provider.fetch });
 *
 * The vault refreshes once, however many processes share the login. Both methods throw `LoginRequiredError` when only a
 * person can help and `interaction` is not set; its `hint` has the command to run. Otherwise they throw the errors of
 * `vault.token` and `vault.login`.
 *
 * @param resource the MCP server's URL
 * @throws InvalidArgumentError for an invalid resource or account
 */
export function authProvider(
  vault: Vault,
  resource: string,
  options: AuthorizedFetchOptions = {},
): VaultAuthProvider {
  const session = new Session(vault, resource, options);
  const handed = new IssuedTokens();
  return {
    fetch: authorizedFetch(vault, resource, { onInsufficientScope: 'throw', ...options }),
    token: async () => {
      const access = await session.token(undefined);
      if (access === undefined) return undefined;
      handed.add(access);
      return access.token.reveal();
    },
    onUnauthorized: async ({ response }) => {
      await session.settled(undefined);
      if ((await session.token(undefined))?.proof !== undefined) throw lacksItsProof(session.id);
      if ((await session.token(undefined, handed.refused())) !== undefined) return;
      if (session.shared.isHopeless) throw refusesItsTokens(session.id);
      await session.logIn(response.headers.get('www-authenticate') ?? undefined, undefined);
    },
  };
}
