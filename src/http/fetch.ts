import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as overHttp } from 'node:http';
import { Agent as HttpsAgent, request as overTls } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { promisify } from 'node:util';
import { createBrotliDecompress, createUnzip } from 'node:zlib';
import { HoldfastError, InvalidArgumentError, NetworkError } from '../errors.ts';
import { quote } from '../quote.ts';
import { VERSION } from '../version.ts';
import { codeOf, isAboutCertificate, openSocket } from './connection.ts';
import { openTunnel, proxyFor } from './tunnel.ts';

/*
 * `fetch` over node:http, for one MCP server. The global one of Node 20 goes through no proxy, costs more for each request than
 * everything else here together, and does not tell whether a request had left when it failed. Bodies are streams that
 * nobody holds up; no answer is too large, and none takes too long: a tool may work for an hour.
 */

/** Idle connections are closed before servers do it (Node's own: after 5 s), so that no request meets one that is closing. */
const IDLE_MS = 4_000;

const CONNECT_MS = 30_000;

/** A peer that is gone without a word is noticed by TCP, as a stream may be silent for long. */
const PROBE_AFTER_MS = 30_000;

const MAX_HEADER_BYTES = 64 * 1024;

const MOST_DISCARDED = 64 * 1024;

/** What `createHttpFetch` answers with: as much of a `Response` as is used, and the stream as Node has it. */
export class HttpResponse {
  readonly status: number;
  readonly statusText: string;
  readonly url: string;
  /** The body, decompressed. */
  readonly stream: Readable;
  readonly #incoming: IncomingMessage;
  #headers: Headers | undefined;

  constructor(incoming: IncomingMessage, url: string) {
    this.#incoming = incoming;
    this.status = incoming.statusCode ?? 0;
    this.statusText = incoming.statusMessage ?? '';
    this.url = url;
    this.stream = decompressed(incoming);
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  /** One header by its name in lower case, without building them all. */
  header(name: string): string | undefined {
    const value = this.#incoming.headers[name];
    return typeof value === 'string' ? value : value?.join(', ');
  }

  get headers(): Headers {
    if (this.#headers !== undefined) return this.#headers;
    const headers = new Headers();
    const { rawHeaders } = this.#incoming;
    for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
      try {
        headers.append(rawHeaders[i] ?? '', rawHeaders[i + 1] ?? '');
      } catch {
        // No name or value that HTTP knows, so none that anything looks for.
      }
    }
    this.#headers = headers;
    return headers;
  }

  /** Reads what is left and forgets it, so that the connection can be used again; closes it where that is much. */
  discard(): void {
    let size = 0;
    this.stream
      .on('error', () => {})
      .on('data', (chunk: Buffer) => {
        size += chunk.byteLength;
        if (size > MOST_DISCARDED) this.stream.destroy();
      });
  }

  /** All that `authorizedFetch` does with a body is to leave it. */
  get body(): { cancel(): Promise<void> } {
    return { cancel: async () => this.discard() };
  }
}

/** The global `fetch`, or anything that looks like it from outside. */
type Fetch = typeof globalThis.fetch;

export interface HttpFetch {
  /** Sends one request, follows no redirect. Answers an `HttpResponse`. Throws NetworkError, or the signal's reason. */
  readonly fetch: Fetch;
  /** Closes the connections, those in use as well. */
  close(): void;
}

/** @param ownHeaders go to that origin with every request */
export function createHttpFetch(ownHeaders: {
  origin: string;
  headers: Readonly<Record<string, string>>;
}): HttpFetch {
  const agents = { 'http:': agentFor(HttpAgent), 'https:': agentFor(HttpsAgent) };
  return {
    fetch: (async (input, init = {}) => {
      const url = new URL(input instanceof Request ? input.url : input);
      const headers: Record<string, string> = {
        'user-agent': `holdfast/${VERSION}`,
        ...(url.origin === ownHeaders.origin && ownHeaders.headers),
        ...headersOf(init.headers),
        'accept-encoding': 'identity',
      };
      const { body = null, signal } = init;
      if (body !== null && typeof body !== 'string')
        throw new InvalidArgumentError('Only text is sent from here.');
      const agent = agents[url.protocol === 'https:' ? 'https:' : 'http:'];
      await dropEnded(agent);
      const incoming = await exchange(
        url,
        { method: init.method ?? 'GET', headers, agent },
        body,
        signal ?? undefined,
      );
      return new HttpResponse(incoming, url.href) as unknown as Response;
    }) satisfies Fetch,
    close: () => {
      for (const agent of Object.values(agents)) agent.destroy();
    },
  };
}

const turn = promisify(setImmediate);

/**
 * Lets go of kept connections that the server has closed a moment ago. Two turns of the loop tell of it, and Node's agent
 * takes some more to notice; a request that went out over one would have to fail, since it might have been seen.
 */
async function dropEnded(agent: HttpAgent): Promise<void> {
  if (Object.keys(agent.freeSockets).length === 0) return;
  await turn();
  await turn();
  for (const sockets of Object.values(agent.freeSockets)) {
    for (const socket of sockets ?? []) if (!socket.readable) socket.destroy();
  }
}

function headersOf(given: NonNullable<Parameters<Fetch>[1]>['headers']): Record<string, string> {
  if (given == null) return {};
  if (given instanceof Headers) return Object.fromEntries(given);
  return Array.isArray(given)
    ? (Object.fromEntries(given) as Record<string, string>)
    : { ...(given as Record<string, string>) };
}

function exchange(
  url: URL,
  options: { method: string; headers: Record<string, string>; agent: HttpAgent },
  body: string | null,
  signal: AbortSignal | undefined,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason);
    let connected = false;
    let answered = false;
    const request: ClientRequest = (url.protocol === 'https:' ? overTls : overHttp)(url, {
      ...options,
      maxHeaderSize: MAX_HEADER_BYTES,
    });
    const giveUp = () => request.destroy();
    const late = setTimeout(
      () => request.destroy(new Error(`no connection within ${CONNECT_MS / 1000} s`)),
      CONNECT_MS,
    );
    signal?.addEventListener('abort', giveUp, { once: true });
    const done = () => {
      clearTimeout(late);
      signal?.removeEventListener('abort', giveUp);
    };
    const fail = (error: Error) => {
      done();
      reject(signal?.aborted === true ? signal.reason : failure(error, url, connected));
    };
    request
      .on('socket', (socket: Socket) => {
        const open = () => {
          connected = true;
          clearTimeout(late);
        };
        // Over a connection that is used again, or that is ready already, the request is on its way.
        if (request.reusedSocket) open();
        else if (url.protocol === 'https:') socket.once('secureConnect', open);
        else if (socket.connecting) socket.once('connect', open);
        else open();
      })
      .on('response', (incoming) => {
        answered = true;
        clearTimeout(late);
        incoming.once('close', done);
        resolve(incoming);
      })
      .on('error', fail)
      .on('close', () => {
        // After an answer, its stream tells what becomes of it, and the signal still ends that.
        if (!answered) fail(new Error('The connection was closed.'));
      })
      .end(body ?? undefined);
  });
}

/** Connections that are kept, each opened as the environment says: straight, or through a proxy. */
function agentFor<T extends typeof HttpAgent>(Kind: T): HttpAgent {
  const agent = new Kind({ keepAlive: true, timeout: IDLE_MS });
  agent.createConnection = ((options: unknown, opened: (error: Error | null, socket?: Duplex) => void) => {
    const {
      host = '',
      port = '',
      protocol,
    } = options as { host?: string; port?: number | string; protocol?: string };
    const url = new URL(`${protocol ?? 'http:'}//${host.includes(':') ? `[${host}]` : host}:${port}`);
    connect(url).then(
      (socket) => opened(null, socket),
      (error: Error) => opened(error),
    );
    return undefined;
  }) as never;
  return agent;
}

async function connect(url: URL): Promise<Socket> {
  const proxy = await proxyFor(url);
  // Whoever gives the request up does not know the tunnel yet.
  const tunnel = proxy && (await openTunnel(proxy, url, AbortSignal.timeout(CONNECT_MS)));
  const socket = openSocket(url, 'anywhere', tunnel);
  socket.setNoDelay(true);
  socket.setKeepAlive(true, PROBE_AFTER_MS);
  return socket;
}

/** Some servers compress although nobody asked for it. */
function decompressed(incoming: IncomingMessage): Readable {
  const coding = incoming.headers['content-encoding']?.trim().toLowerCase() ?? '';
  if (coding === '' || coding === 'identity') return incoming;
  const decoder = coding === 'br' ? createBrotliDecompress() : createUnzip();
  incoming.on('error', (error) => decoder.destroy(error));
  decoder.on('close', () => incoming.destroy());
  return incoming.pipe(decoder);
}

/** A failure below HTTP. Its `unsent` says whether the request may be sent again without repeating anything. */
function failure(error: Error, url: URL, connected: boolean): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = codeOf(error);
  const certificate = isAboutCertificate(code);
  const why = code === undefined ? '' : ` (${code})`;
  return new NetworkError(
    connected
      ? `The connection to ${quote(url.host)} broke off before an answer came${why}.`
      : `${quote(url.host)} cannot be reached${why}${certificate ? ': its certificate is not trusted here' : ''}.`,
    {
      cause: error,
      unsent: !connected,
      hint: certificate
        ? 'If your network has a certificate authority of its own: export NODE_EXTRA_CA_CERTS=/path/to/ca.pem'
        : 'Check the address and the network connection, then try again.',
    },
  );
}
