import { expect } from 'vitest';
import { AbortedError, type HoldfastError } from '../../../src/errors.ts';
import { discover } from '../../../src/oauth/discovery/discovery.ts';
import { answer, type HostileServer, hostileServer, type Routes } from './hostile-server.ts';

/* An MCP server that publishes whatever a test wants. */

export const RESOURCE = '/.well-known/oauth-protected-resource';
export const OAUTH = '/.well-known/oauth-authorization-server';
export const OPENID = '/.well-known/openid-configuration';

export function challenge(text = 'Bearer', status = 401) {
  return answer(status, '', { 'www-authenticate': text });
}

export function metadata(issuer: string, changes: Record<string, unknown> = {}) {
  const base = issuer.replace(/\/$/, '');
  return {
    issuer,
    authorization_endpoint: `${base}/authorize`,
    token_endpoint: `${base}/token`,
    registration_endpoint: `${base}/register`,
    revocation_endpoint: `${base}/revoke`,
    code_challenge_methods_supported: ['plain', 'S256'],
    ...changes,
  };
}

/** A correct server at /mcp with its own authorization server, except for the changes. */
export function server(
  changes: (origin: string) => Routes = () => ({}),
  tls?: Parameters<typeof hostileServer>[1],
) {
  return hostileServer(
    (origin) => ({
      '/mcp': challenge(),
      [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: [origin] },
      [OAUTH]: metadata(origin),
      ...changes(origin),
    }),
    tls,
  );
}

/** The same server, with changes to the authorization server's metadata. */
export function publishing(changes: (origin: string) => Record<string, unknown>) {
  return server((origin) => ({ [OAUTH]: metadata(origin, changes(origin)) }));
}

/** The error of discovery at /mcp, or at that URL. */
export async function failure(target: HostileServer | string, options = {}): Promise<HoldfastError> {
  try {
    await discover(typeof target === 'string' ? target : `${target.origin}/mcp`, options);
  } catch (error) {
    const found = error as HoldfastError;
    // Every error tells a person what to do, and its text cannot move the terminal's cursor.
    expect(found.message).not.toMatch(/\p{Cc}/u);
    if (!(found instanceof AbortedError)) expect(found.hint).toBeTruthy();
    return found;
  }
  throw new Error('The discovery did not fail.');
}
