/** `holdfast/mcp`: a login of the vault under an MCP client, whichever it is. Loads no SDK. */
export { authProvider, type VaultAuthProvider } from './auth-provider.ts';
export { type AuthorizedFetchOptions, authorizedFetch } from './fetch.ts';
export { oauthClientProvider, type ProvidedTokens, type VaultOAuthProvider } from './oauth-provider.ts';
export type { Fetch } from './outgoing.ts';
export type { SessionOptions } from './session.ts';
