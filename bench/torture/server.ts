import { appendFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fingerprint, type Issuer, type Minted } from './issuer.ts';
import type { Journey } from './plan.ts';
import { sharedNow } from './shared-clock.ts';
import { TcpProxy } from './tcp-proxy.ts';

/** One refresh token, shown at the token endpoint. No token is in here. Times are milliseconds of the shared clock. */
export interface Presentation {
  /** When the client connected, and when the server decided. */
  readonly connectedAt: number;
  readonly at: number;
  /** When the whole request was here. */
  readonly receivedAt?: number | undefined;
  /** The port that the client had. */
  readonly port?: number | undefined;
  readonly worker: string;
  readonly family: number;
  readonly shown: Minted;
  readonly outcome: 'rotated' | 'repeated' | 'refused';
  /** Of a refusal because the window was over: how long ago it had opened, in milliseconds. */
  readonly windowMs?: number | undefined;
  readonly given: (Minted & { readonly access: string }) | undefined;
  /** What the network made of the answer. */
  readonly fate: Journey['fate'];
}

/** An access token, by its fingerprint. */
export interface Issued extends Minted {
  readonly family: number;
  /** When the client connected that asked for it. */
  readonly askedAt: number;
  readonly until: number;
}

/** A connection to the token endpoint. */
interface Arrival {
  readonly journey: Journey;
  readonly connectedAt: number;
  readonly port: number | undefined;
}

/**
 * The authorization server, on real sockets behind a network that loses answers: its log is the judge. It is the token
 * endpoint, the revocation endpoint and the resource (`/mcp`) in one.
 */
export class AuthorizationServer {
  readonly log: Presentation[] = [];
  readonly issued = new Map<string, Issued>();
  readonly requests = { unsent: 0, dropped: 0, half: 0, whole: 0 };
  /** Accidents on the way to it happen only while this is set. */
  troubled = true;
  readonly #issuer: Issuer;
  readonly #server: Server;
  readonly #lifeMs: number;
  readonly #logFile: string;
  readonly #revoked = new Set<string>();
  readonly #journeys = new Map<number, Arrival>();
  #proxy: TcpProxy | undefined;

  private constructor(issuer: Issuer, lifeMs: number, logFile: string) {
    this.#issuer = issuer;
    this.#lifeMs = lifeMs;
    this.#logFile = logFile;
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
  }

  /**
   * @param options.journey what becomes of the next token request
   * @param options.lifeMs of an access token
   * @param options.logFile takes the log, one JSON a line
   */
  static async start(
    issuer: Issuer,
    options: { readonly journey: () => Journey; readonly lifeMs: number; readonly logFile: string },
  ): Promise<AuthorizationServer> {
    const server = new AuthorizationServer(issuer, options.lifeMs, options.logFile);
    await new Promise<void>((listening) => server.#server.listen(0, '127.0.0.1', listening));
    const { port } = server.#server.address() as AddressInfo;
    server.#proxy = await TcpProxy.start(port, (connection) => {
      const quiet: Journey = { beforeMs: 0, afterMs: 0, fate: 'whole' };
      const journey = server.troubled ? options.journey() : quiet;
      server.requests[journey.fate] += 1;
      if (journey.fate === 'unsent') return false;
      connection.answers = journey.fate;
      const arrival = { journey, connectedAt: sharedNow(), port: connection.near.remotePort };
      connection.far.once('connect', () => {
        server.#journeys.set(connection.far.localPort ?? 0, arrival);
      });
      return true;
    });
    return server;
  }

  /** Behind the network that loses answers. */
  get tokenEndpoint(): string {
    return `http://127.0.0.1:${this.#proxy?.port}/token`;
  }

  /** Reached without accidents. */
  get revocationEndpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/revoke`;
  }

  /** The resource, and all below it, which is reached without accidents. */
  get resource(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/mcp`;
  }

  async close(): Promise<void> {
    await this.#proxy?.close();
    await new Promise<void>((closed) => {
      this.#server.close(() => closed());
      this.#server.closeAllConnections();
    });
    await this.#issuer.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const reply = (status: number, json: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    };
    if (request.url?.startsWith('/mcp') === true) {
      const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
      request.resume();
      return reply(this.#lets(token) ? 200 : 401, {});
    }
    let body = '';
    for await (const chunk of request) body += chunk;
    if (request.url === '/revoke') {
      const token = new URLSearchParams(body).get('token') ?? '';
      this.#revoked.add(fingerprint(token));
      this.#issuer.revoke(token);
      return reply(200, {});
    }
    const receivedAt = sharedNow();
    const met = this.#journeys.get(request.socket.remotePort ?? 0);
    this.#journeys.delete(request.socket.remotePort ?? 0);
    const { journey, connectedAt, port } = met ?? {
      journey: undefined,
      connectedAt: receivedAt,
      port: undefined,
    };
    await sleep(journey?.beforeMs ?? 0);
    const answer = await this.#issuer.present(new URLSearchParams(body).get('refresh_token') ?? '');
    if (answer === undefined) return reply(400, { error: 'invalid_grant' });
    const at = sharedNow();
    const { family, shown, outcome, windowMs, given } = answer;
    const access = given && fingerprint(given.accessToken);
    const entry: Presentation = {
      connectedAt,
      receivedAt,
      port,
      at,
      worker: String(request.headers['x-torture-worker'] ?? ''),
      family,
      shown,
      outcome,
      windowMs,
      given: given && access ? { generation: given.generation, sibling: given.sibling, access } : undefined,
      fate: journey?.fate ?? 'whole',
    };
    this.log.push(entry);
    appendFileSync(this.#logFile, `${JSON.stringify(entry)}\n`);
    if (given === undefined || access === undefined) {
      return reply(400, { error: 'invalid_grant', error_description: 'the token was used before' });
    }
    this.issued.set(access, {
      generation: given.generation,
      sibling: given.sibling,
      family,
      askedAt: connectedAt,
      until: at + this.#lifeMs,
    });
    await sleep(journey?.afterMs ?? 0);
    reply(200, {
      access_token: given.accessToken,
      token_type: 'Bearer',
      expires_in: this.#lifeMs / 1000,
      refresh_token: given.refreshToken,
    });
  }

  #lets(token: string): boolean {
    const issued = this.issued.get(fingerprint(token));
    if (issued === undefined || issued.until < sharedNow()) return false;
    if (this.#revoked.has(fingerprint(token))) return false;
    if (this.#issuer.revokedAt(issued.family) !== undefined) return false;
    this.#issuer.used(issued.family, issued);
    return true;
  }
}
