import type { Home } from '../homes/home.ts';
import { gate } from '../homes/store.ts';
import { change } from '../homes/vault.ts';
import { type Handler, type HostileServer, hostileServer } from './hostile-server.ts';

/** Stores another token endpoint in the credential. */
export async function useTokenEndpoint(
  home: Home,
  resource: string,
  handler: Handler,
): Promise<HostileServer> {
  const server = await hostileServer({ '/token': handler });
  await change(home, resource, (credential) => ({
    server: { ...credential.server, tokenEndpoint: `${server.origin}/token` },
  }));
  return server;
}

/** A token endpoint that holds requests until the test opens the gate, then forwards them to the real server. */
export function gatedTokenEndpoint(issuer: string) {
  const [reached, may] = [gate(), gate()];
  const handler: Handler = async (request, response) => {
    reached.open();
    await may.opened;
    const answer = await fetch(`${issuer}/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: request.body,
    });
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
  };
  return { handler, reached: reached.opened, open: () => may.open() };
}
