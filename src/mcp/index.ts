/** `holdfast/mcp`: a login of the vault for any MCP client. Loads no SDK. */
export { authProvider, type VaultAuthProvider } from './auth-provider.ts';
export { authorizedFetch } from './fetch.ts';
export { oauthClientProvider, type ProvidedTokens, type VaultOAuthProvider } from './oauth-provider.ts';
export type { AuthorizedFetchOptions, Fetch, SessionOptions } from './options.ts';
