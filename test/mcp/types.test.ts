import type { OAuthClientProvider as AiSdkProvider } from '@ai-sdk/mcp';
import type {
  AuthProvider,
  FetchLike,
  OAuthClientProvider as V2Provider,
} from '@modelcontextprotocol/client';
import type { OAuthClientProvider as V1Provider } from '@modelcontextprotocol/sdk/client/auth.js';
import type { FetchLike as V1FetchLike } from '@modelcontextprotocol/sdk/shared/transport.js';
import { expect, test } from 'vitest';
import { authorizedFetch, authProvider, oauthClientProvider } from '../../src/mcp/index.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { vaultAt } from '../support/homes/vault.ts';

const RESOURCE = 'https://mcp.example.com/mcp';

test('satisfies the types of each SDK', async () => {
  const { vault } = vaultAt(await temporaryHome());
  const minimal = authProvider(vault, RESOURCE) satisfies AuthProvider;
  const full = oauthClientProvider(vault, RESOURCE) satisfies V1Provider & V2Provider & AiSdkProvider;
  const send = authorizedFetch(vault, RESOURCE) satisfies typeof fetch & FetchLike & V1FetchLike;
  expect([typeof minimal.token, typeof full.tokens, typeof send]).toEqual([
    'function',
    'function',
    'function',
  ]);
});
