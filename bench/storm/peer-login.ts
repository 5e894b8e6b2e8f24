import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { browse } from '../../test/support/browser/scripted-browser.mjs';
import type { Servers } from '../../test/support/servers/servers.ts';

/** What a login yields, before any program has stored it in its own way. */
export interface PeerLogin {
  readonly issuer: string;
  readonly tokenEndpoint: string;
  /** The whole answer to the registration (RFC 7591 section 3.2.1). */
  readonly client: { readonly client_id: string; readonly redirect_uris: readonly string[] };
  /** The whole answer of the token endpoint (RFC 6749 section 5.1). */
  readonly tokens: {
    readonly access_token: string;
    readonly token_type: string;
    readonly expires_in: number;
    readonly refresh_token: string;
    readonly scope?: string;
  };
  /** The port of the redirect, free again. */
  readonly port: number;
}

/** A real registration and a real code grant, with a redirect as mcp-remote would have registered it. */
export async function peerLogin({ issuer, resource }: Servers): Promise<PeerLogin> {
  const metadata = await json(await fetch(`${issuer}/.well-known/oauth-authorization-server`));
  const tokenEndpoint = String(metadata['token_endpoint']);
  let code: string | null = null;
  const callback = createServer((request, response) => {
    code = new URL(request.url ?? '', 'http://localhost').searchParams.get('code') ?? code;
    response.end('You may close this window.');
  });
  await new Promise<void>((resolve) => callback.listen(0, 'localhost', resolve));
  try {
    const { port } = callback.address() as AddressInfo;
    const redirect = `http://localhost:${port}/oauth/callback`;
    const client = (await json(
      await fetch(String(metadata['registration_endpoint']), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          client_name: 'a peer',
          application_type: 'native',
          redirect_uris: [redirect],
          grant_types: ['authorization_code', 'refresh_token'],
          response_types: ['code'],
          token_endpoint_auth_method: 'none',
        }),
      }),
    )) as PeerLogin['client'] & Record<string, unknown>;
    const verifier = randomBytes(32).toString('base64url');
    const url = new URL(String(metadata['authorization_endpoint']));
    url.search = String(
      new URLSearchParams({
        response_type: 'code',
        client_id: client.client_id,
        redirect_uri: redirect,
        resource,
        scope: 'tools:call',
        state: randomBytes(16).toString('base64url'),
        code_challenge: createHash('sha256').update(verifier).digest('base64url'),
        code_challenge_method: 'S256',
      }),
    );
    await browse(url.href);
    if (code === null) throw new Error('The authorization server sent no code.');
    const form = new URLSearchParams({
      grant_type: 'authorization_code',
      code,
      redirect_uri: redirect,
      client_id: client.client_id,
      code_verifier: verifier,
      resource,
    });
    const tokens = (await json(await fetch(tokenEndpoint, { method: 'POST', body: form }))) as unknown;
    return { issuer, tokenEndpoint, client, tokens: tokens as PeerLogin['tokens'], port };
  } finally {
    callback.closeAllConnections();
    callback.close();
  }
}

async function json(response: Response): Promise<Record<string, unknown>> {
  if (!response.ok) throw new Error(`${new URL(response.url).pathname} answered ${response.status}.`);
  return (await response.json()) as Record<string, unknown>;
}
