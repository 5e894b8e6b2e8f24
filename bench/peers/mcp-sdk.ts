/**
 * A process that connects by the MCP SDK, with a provider that keeps everything in one JSON file and leaves the rest to
 * the SDK, as its examples do. The first argument is JSON: `{ resource, file }`.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import {
  Client,
  type OAuthClientInformationMixed,
  type OAuthClientProvider,
  type OAuthTokens,
  StreamableHTTPClientTransport,
} from '@modelcontextprotocol/client';
import { obey } from '../storm/barrier.ts';

interface Kept {
  client?: OAuthClientInformationMixed;
  tokens?: OAuthTokens;
  verifier?: string;
}

const { resource, file }: Record<'resource' | 'file', string> = JSON.parse(process.argv[2] ?? '');

class FileProvider implements OAuthClientProvider {
  readonly redirectUrl = 'http://localhost:1/oauth/callback';
  readonly clientMetadata = { redirect_uris: [this.redirectUrl], token_endpoint_auth_method: 'none' };
  clientInformation = async () => (await read()).client;
  tokens = async () => (await read()).tokens;
  saveClientInformation = (client: OAuthClientInformationMixed) => change({ client });
  saveTokens = (tokens: OAuthTokens) => change({ tokens });
  saveCodeVerifier = (verifier: string) => change({ verifier });
  codeVerifier = async () => (await read()).verifier ?? '';

  async redirectToAuthorization(): Promise<void> {
    // Nobody is there to log in.
  }

  async invalidateCredentials(what: 'all' | 'client' | 'tokens' | 'verifier' | 'discovery'): Promise<void> {
    const kept = await read();
    if (what === 'all' || what === 'client') delete kept.client;
    if (what === 'all' || what === 'tokens') delete kept.tokens;
    if (what === 'all' || what === 'verifier') delete kept.verifier;
    await write(kept);
  }
}

obey(
  {
    open: async () => {
      // Everything is read when it is asked for.
    },
    ask: async () => {
      const provider = new FileProvider();
      const client = new Client({ name: 'storm', version: '1.0.0' });
      try {
        await client.connect(
          new StreamableHTTPClientTransport(new URL(resource), { authProvider: provider }),
        );
        await client.listTools();
      } catch (error) {
        return [error instanceof Error ? new Error(`${error.name}`) : new Error('it failed')];
      } finally {
        await client.close();
      }
      const token = (await provider.tokens())?.access_token;
      return [token ?? new Error('it connected, and another process has removed the tokens since')];
    },
    close: async () => {
      // Nothing of it is open.
    },
  },
  resource,
);

async function read(): Promise<Kept> {
  return JSON.parse(await readFile(file, 'utf8')) as Kept;
}

async function change(part: Kept): Promise<void> {
  await write({ ...(await read()), ...part });
}

async function write(kept: Kept): Promise<void> {
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, JSON.stringify(kept), { mode: 0o600 });
  await rename(temporary, file);
}
