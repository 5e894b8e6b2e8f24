import type { Agent, IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import type { Reach } from '../credential.ts';
import { InvalidArgumentError, ResponseTooLargeError } from '../errors.ts';
import type { Environment } from '../system/environment.ts';
import { VERSION } from '../version.ts';
import { beginning, decoded, discard, pump, whole } from './body.ts';
import { connect } from './connection.ts';
import { agentOver, Flight, headersOf } from './exchange.ts';
import { networkFailure, noConnection, shownHost } from './failure.ts';
import { headersFor, type OwnHeaders } from './own-headers.ts';
import { type Proxy, proxyFor } from './tunnel.ts';

/*
 * `fetch` for one MCP server. Connections are reused, bodies stream without a pause, and no time limit applies: a tool
 * may work for an hour.
 *
 * The global `fetch` of Node 20 ignores the proxy and costs more per request than all other code here together. It also
 * does not tell whether a failed request was already sent.
 */

/**
 * Idle connections close before servers close them (Node's own: after 5 s). So no request uses a closing connection.
 */
const IDLE_MS = 4_000;

const CONNECT_MS = 30_000;

const MAX_HEADER_BYTES = 64 * 1024;

/** Maximum size of a whole answer after decompression, in bytes. One event or one line may have as many. */
export const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** The answer of `createHttpFetch`: the used part of `Response`, with the body as Node gives it. */
export class HttpResponse {
  readonly status: number;
  readonly statusText: string;
  readonly url: string;
  readonly #incoming: IncomingMessage;
  /** The server's name for messages. */
  readonly #host: string;
  #stream: Readable | undefined;
  #headers: Headers | undefined;

  constructor(incoming: IncomingMessage, url: string, host: string) {
    this.#incoming = incoming;
    this.status = incoming.statusCode ?? 0;
    this.statusText = incoming.statusMessage ?? '';
    this.url = url;
    this.#host = host;
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  /** One header by its lower-case name, without building all of them. */
  header(name: string): string | undefined {
    const value = this.#incoming.headers[name];
    return typeof value === 'string' ? value : value?.join(', ');
  }

  get headers(): Headers {
    this.#headers ??= headersOf(this.#incoming);
    return this.#headers;
  }

  get #body(): Readable {
    this.#stream ??= decoded(this.#incoming, this.#host);
    return this.#stream;
  }

  /**
   * Passes on each chunk of the decompressed body until its end. The caller limits how much it stores.
   *
   * @throws NetworkError when the body breaks off, InvalidResponseError when it cannot be decompressed, and the errors
   *   of `onChunk`
   */
  async chunks(onChunk: (chunk: Buffer) => void): Promise<void> {
    await this.#known(pump(this.#body, onChunk));
  }

  /**
   * Reads the whole body.
   *
   * @throws ResponseTooLargeError beyond 64 MiB; otherwise as `chunks`
   */
  async text(): Promise<string> {
    const tooLarge = () =>
      new ResponseTooLargeError(
        `${this.#host} answered with more than ${MAX_ANSWER_BYTES / (1024 * 1024)} MiB; reading stopped there.`,
        { hint: 'Ask for less at a time, or tell who runs the server.' },
      );
    return (await this.#known(whole(this.#body, MAX_ANSWER_BYTES, tooLarge))).toString('utf8');
  }

  /** Reads the beginning of the body, whether or not the body ends properly. */
  async beginning(limit: number): Promise<string> {
    return (await beginning(this.#body, limit)).toString('utf8');
  }

  async #known<T>(reading: Promise<T>): Promise<T> {
    try {
      return await reading;
    } catch (error) {
      throw networkFailure(error, { host: this.#host, connected: true, answered: true, sentMsAgo: 0 });
    }
  }

  /** Drops the body. The connection is reused if little of the body is left. */
  discard(): void {
    discard(this.#incoming);
  }

  /** Drops the body and closes the connection. */
  destroy(): void {
    this.#stream?.destroy();
    this.#incoming.destroy();
  }

  /** `authorizedFetch` only ever cancels a body. */
  get body(): { cancel(): Promise<void> } {
    return { cancel: async () => this.discard() };
  }
}

/** The type of the global `fetch`, or of a function with the same signature. */
type Fetch = typeof globalThis.fetch;

export interface HttpFetch {
  /**
   * Sends one request and follows no redirect. Returns an `HttpResponse`. Throws NetworkError, or the signal's reason.
   */
  readonly fetch: Fetch;
  /** Closes all connections, including those in use. */
  close(): void;
}

/** The reusable connections to one origin. */
interface Line {
  readonly agent: Agent;
  proxy: Proxy | undefined;
}

/**
 * Makes a `fetch` that reuses its connections.
 *
 * @param ownHeaders headers for every request to their origin
 * @param reach how far the requests may go
 */
export function createHttpFetch(
  ownHeaders: OwnHeaders,
  reach: Reach = 'anywhere',
  environment?: Environment,
): HttpFetch {
  const lines = new Map<string, Line>();
  return {
    fetch: (async (input, init = {}) => {
      const url = new URL(input instanceof Request ? input.url : input);
      const { body = null, signal } = init;
      if (body !== null && typeof body !== 'string')
        throw new InvalidArgumentError('Only text is sent from here.');
      const line = lines.get(url.origin) ?? lineTo(url, reach, environment);
      lines.set(url.origin, line);
      await dropEnded(line.agent);
      signal?.throwIfAborted();
      const flight = new Flight(url, {
        method: init.method ?? 'GET',
        headers: {
          'user-agent': `holdfast/${VERSION}`,
          ...headersFor(url, ownHeaders, plain(init.headers)),
        },
        body: body ?? undefined,
        agent: line.agent,
        maxHeaderBytes: MAX_HEADER_BYTES,
      });
      const giveUp = () => flight.outgoing.destroy();
      signal?.addEventListener('abort', giveUp, { once: true });
      // After the answer, its stream reports errors, and the signal can still end it.
      flight.outgoing.once('close', () => signal?.removeEventListener('abort', giveUp));
      try {
        const incoming = await flight.answer;
        return new HttpResponse(incoming, url.href, shownHost(url, line.proxy)) as unknown as Response;
      } catch (error) {
        signal?.throwIfAborted();
        const { connected, answered, sentMsAgo } = flight;
        throw networkFailure(error, { host: shownHost(url, line.proxy), connected, answered, sentMsAgo });
      }
    }) satisfies Fetch,
    close: () => {
      for (const { agent } of lines.values()) agent.destroy();
    },
  };
}

function lineTo(url: URL, reach: Reach, environment: Environment | undefined): Line {
  const line: Line = {
    agent: agentOver(url, { keepAlive: true, timeout: IDLE_MS }, async () => {
      line.proxy = proxyFor(url, environment);
      // The connection has its own time limit, since the request's signal does not cover it.
      const signal = AbortSignal.timeout(CONNECT_MS);
      try {
        return await connect(url, { reach, proxy: line.proxy, signal });
      } catch (error) {
        throw signal.aborted ? noConnection(shownHost(url, line.proxy), CONNECT_MS) : error;
      }
    }),
    proxy: undefined,
  };
  return line;
}

const turn = promisify(setImmediate);

/**
 * Closes idle connections that the server has just closed. The close shows after two turns of the event loop, and
 * Node's agent takes longer to notice it. A request over such a connection would have to fail, since the server might
 * have seen it.
 */
async function dropEnded(agent: Agent): Promise<void> {
  if (Object.keys(agent.freeSockets).length === 0) return;
  await turn();
  await turn();
  for (const sockets of Object.values(agent.freeSockets)) {
    for (const socket of sockets ?? []) if (!socket.readable) socket.destroy();
  }
}

function plain(given: NonNullable<Parameters<Fetch>[1]>['headers']): Record<string, string> {
  if (given == null) return {};
  if (given instanceof Headers) return Object.fromEntries(given);
  return Array.isArray(given)
    ? (Object.fromEntries(given) as Record<string, string>)
    : { ...(given as Record<string, string>) };
}
