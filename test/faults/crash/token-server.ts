import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/*
 * A token endpoint that rotates refresh tokens, and remembers everything: what it was shown, what it gave, and whether the
 * answer could still be sent. It is the judge of the crash tests: whether a login could have been saved is read off here.
 */

/** `strict` ends the login when a token comes twice. `window` gives the same successor again to the immediate predecessor. */
export type ReplayPolicy = 'strict' | 'window';

export interface Family {
  /** The access token that is good now. */
  accessToken: string;
  refreshToken: string;
  /** The token that the present one came from. */
  predecessor: string | undefined;
  rotations: number;
  /** A token came twice, and the login was ended. */
  revoked: boolean;
  presentations: number;
}

export interface TokenServer {
  readonly endpoint: string;
  /** A new login. */
  begin(policy: ReplayPolicy): { readonly id: string; readonly family: Family };
  family(id: string): Family;
  close(): Promise<void>;
}

export async function startTokenServer(): Promise<TokenServer> {
  const families = new Map<string, Family & { policy: ReplayPolicy }>();
  const server = createServer((request, response) => {
    void answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += chunk;
    const shown = new URLSearchParams(body).get('refresh_token') ?? '';
    const family = families.get(shown.split('.')[0] ?? '');
    const reply = (status: number, json: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    };
    if (family === undefined || family.revoked) return reply(400, { error: 'invalid_grant' });
    family.presentations += 1;
    if (shown === family.refreshToken) {
      family.predecessor = family.refreshToken;
      family.refreshToken = token(shown.split('.')[0] ?? '');
      family.accessToken = token('access');
      family.rotations += 1;
    } else if (shown !== family.predecessor || family.policy === 'strict') {
      family.revoked = true;
      return reply(400, { error: 'invalid_grant', error_description: 'the token was used before' });
    }
    reply(200, {
      access_token: family.accessToken,
      token_type: 'Bearer',
      expires_in: 3600,
      refresh_token: family.refreshToken,
    });
  }

  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    begin: (policy) => {
      const id = randomBytes(6).toString('hex');
      const family = {
        policy,
        accessToken: token('access'),
        refreshToken: token(id),
        predecessor: undefined,
        rotations: 0,
        revoked: false,
        presentations: 0,
      };
      families.set(id, family);
      return { id, family };
    },
    family: (id) => {
      const family = families.get(id);
      if (family === undefined) throw new Error('There is no such login.');
      return family;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function token(prefix: string): string {
  return `${prefix}.${randomBytes(16).toString('base64url')}`;
}
