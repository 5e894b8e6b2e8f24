import type { Agent, IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import type { Reach } from '../credential.ts';
import { InvalidArgumentError, ResponseTooLargeError } from '../errors.ts';
import { VERSION } from '../version.ts';
import { beginning, decoded, discard, pump, whole } from './body.ts';
import { connect } from './connection.ts';
import { agentOver, Flight, headersOf } from './exchange.ts';
import { networkFailure, noConnection, shownHost } from './failure.ts';
import { headersFor, type OwnHeaders } from './own-headers.ts';
import { type Proxy, proxyFor } from './tunnel.ts';

/*
 * `fetch` for one MCP server: connections are kept, and bodies are streams that nobody holds up. None takes too long: a tool may
 * work for an hour. The global one of Node 20 goes through no proxy, costs more for each request than everything else here
 * together, and does not tell whether a request had left when it failed.
 */

/** Idle connections are closed before servers do it (Node's own: after 5 s), so that no request meets one that is closing. */
const IDLE_MS = 4_000;

const CONNECT_MS = 30_000;

const MAX_HEADER_BYTES = 64 * 1024;

/** The whole of an answer, decompressed: as much as one event or one line may have. */
export const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** What `createHttpFetch` answers with: as much of a `Response` as is used, and the body as Node has it. */
export class HttpResponse {
  readonly status: number;
  readonly statusText: string;
  readonly url: string;
  readonly #incoming: IncomingMessage;
  /** How messages name the server. */
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

  /** One header by its name in lower case, without building them all. */
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
   * Hands on each chunk of the body, decompressed, to its end. Whoever takes them bounds what is kept of them.
   *
   * @throws NetworkError when it breaks off, InvalidResponseError when it cannot be decompressed, and what `onChunk` throws
   */
  async chunks(onChunk: (chunk: Buffer) => void): Promise<void> {
    await this.#known(pump(this.#body, onChunk));
  }

  /**
   * All of the body.
   *
   * @throws ResponseTooLargeError beyond 64 MiB; else what `chunks` throws
   */
  async text(): Promise<string> {
    const tooLarge = () =>
      new ResponseTooLargeError(
        `${this.#host} answered with more than ${MAX_ANSWER_BYTES / (1024 * 1024)} MiB; reading stopped there.`,
        { hint: 'Ask for less at a time, or tell who runs the server.' },
      );
    return (await this.#known(whole(this.#body, MAX_ANSWER_BYTES, tooLarge))).toString('utf8');
  }

  /** The beginning of the body, however it ends. */
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

  /** Leaves the body; the connection is used again where little is left of it. */
  discard(): void {
    discard(this.#incoming);
  }

  /** Leaves the body and closes the connection. */
  destroy(): void {
    this.#stream?.destroy();
    this.#incoming.destroy();
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

/** The connections to one origin that are kept. */
interface Line {
  readonly agent: Agent;
  proxy: Proxy | undefined;
}

/**
 * @param ownHeaders go to that origin with every request
 * @param reach how far the requests may go
 */
export function createHttpFetch(ownHeaders: OwnHeaders, reach: Reach = 'anywhere'): HttpFetch {
  const lines = new Map<string, Line>();
  return {
    fetch: (async (input, init = {}) => {
      const url = new URL(input instanceof Request ? input.url : input);
      const { body = null, signal } = init;
      if (body !== null && typeof body !== 'string')
        throw new InvalidArgumentError('Only text is sent from here.');
      const line = lines.get(url.origin) ?? lineTo(url, reach);
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
      // After an answer, its stream tells what becomes of it, and the signal still ends that.
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

function lineTo(url: URL, reach: Reach): Line {
  const line: Line = {
    agent: agentOver(url, { keepAlive: true, timeout: IDLE_MS }, async () => {
      line.proxy = await proxyFor(url);
      // Whoever gives the request up does not know the connection yet.
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
 * Lets go of kept connections that the server has closed a moment ago. Two turns of the loop tell of it, and Node's agent
 * takes some more to notice; a request that went out over one would have to fail, since it might have been seen.
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
