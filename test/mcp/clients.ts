import type { createMCPClient } from '@ai-sdk/mcp';
import type { StreamableHTTPClientTransport as V2Transport } from '@modelcontextprotocol/client';
import type { StreamableHTTPClientTransport as V1Transport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  type AuthorizedFetchOptions,
  authorizedFetch,
  authProvider,
  oauthClientProvider,
} from '../../src/mcp/index.ts';
import type { Vault } from '../../src/vault/vault.ts';

/* Each way to use a vault with an SDK's client, as users would write it. An SDK is loaded when it is first used. */

export interface Connected {
  /** Calls a tool of the test server, `whoami` by default, and returns its answer as text. */
  call(tool?: string): Promise<string>;
  close(): Promise<void>;
}

type Connect = (vault: Vault, resource: string, options?: AuthorizedFetchOptions) => Promise<Connected>;

const INFO = { name: 'holdfast-test', version: '1.0.0' };

export async function v2(
  resource: string,
  options: ConstructorParameters<typeof V2Transport>[1],
): Promise<Connected> {
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const client = new Client(INFO, { versionNegotiation: { mode: 'auto' } });
  await client.connect(new StreamableHTTPClientTransport(new URL(resource), options));
  return {
    call: async (name = 'whoami') => JSON.stringify(await client.callTool({ name, arguments: {} })),
    close: () => client.close(),
  };
}

export async function v1(
  resource: string,
  options: ConstructorParameters<typeof V1Transport>[1],
): Promise<Connected> {
  const [{ Client }, { StreamableHTTPClientTransport }] = await Promise.all([
    import('@modelcontextprotocol/sdk/client/index.js'),
    import('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  ]);
  const client = new Client(INFO);
  const transport = new StreamableHTTPClientTransport(new URL(resource), options);
  // The SDK's own types fail under exactOptionalPropertyTypes.
  await client.connect(transport);
  return {
    call: async (name = 'whoami') => JSON.stringify(await client.callTool({ name, arguments: {} })),
    close: () => client.close(),
  };
}

async function ai(
  resource: string,
  options: Omit<
    Extract<Parameters<typeof createMCPClient>[0]['transport'], { type: string }>,
    'type' | 'url'
  >,
): Promise<Connected> {
  const { createMCPClient } = await import('@ai-sdk/mcp');
  const client = await createMCPClient({ transport: { type: 'http', url: resource, ...options } });
  return {
    call: async (name = 'whoami') => {
      const tool = (await client.tools())[name];
      return JSON.stringify(await tool?.execute?.({}, { toolCallId: '1', messages: [] }));
    },
    close: () => client.close(),
  };
}

/** The provider with its own `fetch`: everything works. */
export const WHOLE: Record<string, Connect> = {
  'SDK v2, authProvider and its fetch': async (vault, resource, options) => {
    const provider = authProvider(vault, resource, options);
    return v2(resource, { authProvider: provider, fetch: provider.fetch });
  },
  'SDK v2, oauthClientProvider and its fetch': async (vault, resource, options) => {
    const provider = oauthClientProvider(vault, resource, options);
    return v2(resource, { authProvider: provider, fetch: provider.fetch });
  },
  'SDK v1, oauthClientProvider and its fetch': async (vault, resource, options) => {
    const provider = oauthClientProvider(vault, resource, options);
    return v1(resource, { authProvider: provider, fetch: provider.fetch });
  },
  'AI SDK, oauthClientProvider and its fetch': async (vault, resource, options) => {
    const provider = oauthClientProvider(vault, resource, options);
    return ai(resource, { authProvider: provider, fetch: provider.fetch });
  },
  'SDK v2, authorizedFetch': (vault, resource, options) =>
    v2(resource, { fetch: authorizedFetch(vault, resource, options) }),
  'SDK v1, authorizedFetch': (vault, resource, options) =>
    v1(resource, { fetch: authorizedFetch(vault, resource, options) }),
  'AI SDK, authorizedFetch': (vault, resource, options) =>
    ai(resource, { fetch: authorizedFetch(vault, resource, options) }),
};

/** The SDK's minimal provider, which refreshes automatically and sends the request again. */
export const MINIMAL: Record<string, Connect> = {
  'SDK v2, authProvider alone': (vault, resource, options) =>
    v2(resource, { authProvider: authProvider(vault, resource, options) }),
};

/** The provider without its `fetch`: the caller must repeat a rejected call. */
export const ALONE: Record<string, Connect> = {
  'SDK v2, oauthClientProvider alone': (vault, resource, options) =>
    v2(resource, { authProvider: oauthClientProvider(vault, resource, options) }),
  'SDK v1, oauthClientProvider alone': (vault, resource, options) =>
    v1(resource, { authProvider: oauthClientProvider(vault, resource, options) }),
  'AI SDK, oauthClientProvider alone': (vault, resource, options) =>
    ai(resource, { authProvider: oauthClientProvider(vault, resource, options) }),
};
