import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/*
 * A token endpoint that rotates refresh tokens, and logs all requests, answers and decisions. The fault tests judge by
 * its log whether a login could have been saved.
 */

/**
 * `strict` ends the login when a token comes twice. `window` answers the direct predecessor again with the same
 * successor.
 */
export type ReplayPolicy = 'strict' | 'window';

/** A refresh token that was sent to the token endpoint. */
export interface Presentation {
  /** Milliseconds since the server started. */
  readonly at: number;
  readonly which: 'current' | 'predecessor' | 'older';
  readonly outcome: 'rotated' | 'repeated' | 'refused';
}

/** A login as its server knows it. */
export interface Family {
  readonly endpoint: string;
  readonly clientId: string;
  /** The tokens that are good now. */
  accessToken: string;
  refreshToken: string;
  /** A token came twice, which ended the login. */
  revoked: boolean;
  readonly log: Presentation[];
}

export interface TokenServer {
  readonly endpoint: string;
  /** Creates a login. */
  begin(policy: ReplayPolicy): Family;
  close(): Promise<void>;
}

/** Number of rotations in that login's log. */
export function rotations({ log }: Family): number {
  return log.filter(({ outcome }) => outcome === 'rotated').length;
}

/** @param windowMs time for which `window` repeats its last answer, in milliseconds */
export async function startTokenServer(windowMs = Number.POSITIVE_INFINITY): Promise<TokenServer> {
  interface Kept extends Family {
    readonly policy: ReplayPolicy;
    predecessor?: string;
    rotatedAt: number;
  }
  const families = new Map<string, Kept>();
  const server = createServer((request, response) => {
    void answer(request, response);
  });
  const endpoint = `${await listen(server)}/token`;
  const begin = performance.now();

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += chunk;
    const shown = new URLSearchParams(body).get('refresh_token') ?? '';
    const family = families.get(shown.split('.')[0] ?? '');
    const reply = (status: number, json: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    };
    if (family === undefined) return reply(400, { error: 'invalid_grant' });
    const at = performance.now() - begin;
    const which =
      shown === family.refreshToken ? 'current' : shown === family.predecessor ? 'predecessor' : 'older';
    const repeats =
      which === 'predecessor' && family.policy === 'window' && at - family.rotatedAt <= windowMs;
    const outcome = family.revoked
      ? 'refused'
      : which === 'current'
        ? 'rotated'
        : repeats
          ? 'repeated'
          : 'refused';
    family.log.push({ at, which, outcome });
    if (outcome === 'rotated') {
      family.predecessor = family.refreshToken;
      family.refreshToken = token(shown.split('.')[0] ?? '');
      family.accessToken = token('access');
      family.rotatedAt = at;
    } else if (outcome === 'refused') {
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
    endpoint,
    begin: (policy) => {
      const id = randomBytes(6).toString('hex');
      const family: Kept = {
        endpoint,
        clientId: 'client',
        policy,
        accessToken: token('access'),
        refreshToken: token(id),
        rotatedAt: 0,
        revoked: false,
        log: [],
      };
      families.set(id, family);
      return family;
    },
    close: () => closed(server),
  };
}

export async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function token(prefix: string): string {
  return `${prefix}.${randomBytes(16).toString('base64url')}`;
}
