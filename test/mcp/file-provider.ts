import { readFile, rename, writeFile } from 'node:fs/promises';
import type { OAuthClientProvider as V2Provider } from '@modelcontextprotocol/client';
import type { OAuthClientProvider as V1Provider } from '@modelcontextprotocol/sdk/client/auth.js';
import type { Credential } from '../../src/credential.ts';

/* The in-memory provider of the SDKs' own examples, over one JSON file that processes share. */

interface Kept {
  client?: { client_id: string; issuer: string };
  tokens?: { access_token: string; token_type: string; refresh_token?: string; issuer: string };
  verifier?: string;
}

/** Writes the file as this provider would leave it after that login. */
export async function keepInFile(path: string, { client, server, tokens }: Credential): Promise<void> {
  const { issuer } = server;
  await write(path, {
    client: { client_id: client.clientId, issuer },
    tokens: {
      access_token: tokens.accessToken.reveal(),
      token_type: tokens.tokenType,
      refresh_token: tokens.refreshToken?.reveal() ?? '',
      issuer,
    },
  });
}

export function fileProvider(path: string): V1Provider & V2Provider {
  const redirectUrl = 'http://127.0.0.1:1/callback';
  return {
    redirectUrl,
    clientMetadata: { redirect_uris: [redirectUrl], token_endpoint_auth_method: 'none' },
    clientInformation: async () => (await read(path)).client,
    tokens: async () => (await read(path)).tokens,
    saveClientInformation: async (client) => write(path, { ...(await read(path)), client } as Kept),
    saveTokens: async (tokens) => write(path, { ...(await read(path)), tokens } as Kept),
    saveCodeVerifier: async (verifier) => write(path, { ...(await read(path)), verifier }),
    codeVerifier: async () => (await read(path)).verifier ?? '',
    redirectToAuthorization: () => {
      // No user is there to log in.
    },
    invalidateCredentials: async (what) => {
      const kept = await read(path);
      if (what === 'all' || what === 'client') delete kept.client;
      if (what === 'all' || what === 'tokens') delete kept.tokens;
      await write(path, kept);
    },
  };
}

async function read(path: string): Promise<Kept> {
  return JSON.parse(await readFile(path, 'utf8')) as Kept;
}

async function write(path: string, kept: Kept): Promise<void> {
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, JSON.stringify(kept));
  await rename(temporary, path);
}
