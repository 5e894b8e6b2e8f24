/*
 * What others do, in their simplest honest form, to see it in the same storm. None of this is in the product, and none seals
 * anything.
 */

export const PROTOCOLS = {
  none: { engine: 'redis', title: 'no coordination, the last writer wins' },
  cas: { engine: 'redis', title: 'compare and swap on the write alone' },
  'ttl-lock': { engine: 'redis', title: 'a lock of constant value with an expiry, released blindly' },
  'row-lock': { engine: 'postgres', title: 'a row lock held over the request' },
} as const;
export type Protocol = keyof typeof PROTOCOLS;

export function isProtocol(name: string): name is Protocol {
  return name in PROTOCOLS;
}

/** Where tokens come from, in a worker. */
export interface TokenSource {
  /** @param refused the generation whose token was refused */
  token(
    resource: string,
    refused: number | undefined,
  ): Promise<{ readonly token: string; readonly generation: number }>;
  close(): Promise<void>;
}

/** A login, in plain JSON. */
export interface PlainLogin {
  readonly tokenEndpoint: string;
  readonly refreshToken: string;
  readonly accessToken: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  readonly generation: number;
}

/** Puts a login where the stand-in looks for it. */
export async function putLogin(
  protocol: Protocol,
  url: string,
  resource: string,
  login: PlainLogin,
): Promise<void> {
  if (protocol === 'row-lock') return (await import('./row-lock.ts')).putRow(url, resource, login);
  return (await import('./redis.ts')).putKey(url, resource, login);
}

/** The login as it lies there. */
export async function readLogin(protocol: Protocol, url: string, resource: string): Promise<PlainLogin> {
  if (protocol === 'row-lock') return (await import('./row-lock.ts')).readRow(url, resource);
  return (await import('./redis.ts')).readKey(url, resource);
}

/** @param lockMs how long its lock lasts, where it has an expiry */
export async function standIn(protocol: Protocol, url: string, lockMs: number): Promise<TokenSource> {
  if (protocol === 'row-lock') return (await import('./row-lock.ts')).rowLock(url);
  return (await import('./redis.ts')).overRedis(protocol, url, lockMs);
}

export function isGood(login: PlainLogin, refused: number | undefined): boolean {
  return login.generation !== refused && Date.now() < login.expiresAt;
}

/** Presents the refresh token; with the usual short patience. */
export async function refreshed(login: PlainLogin): Promise<PlainLogin> {
  const http = (await import('node:http')).default;
  const body = new URLSearchParams({
    grant_type: 'refresh_token',
    refresh_token: login.refreshToken,
    client_id: 'torture',
  });
  const answer = await new Promise<string>((resolve, reject) => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded', connection: 'close' };
    const outgoing = http.request(new URL(login.tokenEndpoint), { method: 'POST', headers, agent: false });
    outgoing.on('error', reject).on('response', (response) => {
      let text = '';
      response
        .setEncoding('utf8')
        .on('data', (chunk: string) => {
          text += chunk;
        })
        .on('error', reject)
        .on('aborted', () => reject(new Error('The answer broke off.')))
        .on('end', () => resolve(text));
    });
    outgoing.end(body.toString());
  });
  const {
    access_token: accessToken,
    refresh_token: refreshToken,
    expires_in: life,
    error,
  } = JSON.parse(answer);
  if (accessToken === undefined) throw Object.assign(new Error('refused'), { code: String(error) });
  return {
    ...login,
    accessToken,
    refreshToken,
    expiresAt: Date.now() + life * 1000,
    generation: login.generation + 1,
  };
}
