import type { Vault } from '../vault/vault.ts';
import { type AuthorizedFetchOptions, authorizedFetch } from './fetch.ts';
import { IssuedTokens } from './issued-tokens.ts';
import { lacksItsProof, refusesItsTokens } from './login-needed.ts';
import type { Fetch } from './outgoing.ts';
import { Session } from './session.ts';

/** What `@modelcontextprotocol/client` 2.x calls an `AuthProvider`, and the `fetch` that goes with it. */
export interface VaultAuthProvider {
  /** A valid access token; `undefined` when there is none and a login can be made once the server asks for it. */
  token(): Promise<string | undefined>;
  /** The server answered 401: the token is renewed, or a login is made, and the transport sends the request again. */
  onUnauthorized(context: { readonly response: Response }): Promise<void>;
  /**
   * The same login as a `fetch` (`authorizedFetch`, with `onInsufficientScope: 'throw'` unless told otherwise). Given to the
   * transport together with the provider, it adds what the SDK alone cannot do: DPoP, more scopes on a 403, and a login when a
   * renewed token is refused as well.
   */
  readonly fetch: Fetch;
}

/**
 * A login of the vault for the transports of the MCP TypeScript SDK 2.x:
 *
 *     const provider = authProvider(vault, url);
 *     new StreamableHTTPClientTransport(new URL(url), { authProvider: provider, fetch: provider.fetch });
 *
 * Refreshing stays with the vault: once, however many processes share the login. Both methods throw `LoginRequiredError`, with
 * the command to run in its `hint`, when only a person can help and `interaction` is not given; else what `vault.token` and
 * `vault.login` throw.
 *
 * @param resource the MCP server's URL
 * @throws InvalidArgumentError for a resource or account that cannot be one
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
      if ((await session.token(undefined))?.proof !== undefined) throw lacksItsProof(session.name);
      if ((await session.token(undefined, handed.refused())) !== undefined) return;
      if (session.shared.isHopeless) throw refusesItsTokens(session.name);
      await session.logIn(response.headers.get('www-authenticate') ?? undefined, undefined);
    },
  };
}
