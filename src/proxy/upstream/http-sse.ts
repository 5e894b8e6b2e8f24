import { setTimeout as delay } from 'node:timers/promises';
import { InvalidResponseError, LoginRequiredError, NetworkError, UnsafeUrlError } from '../../errors.ts';
import type { HttpResponse } from '../../http/fetch.ts';
import { quote } from '../../quote.ts';
import { type Incoming, isObject, isRequest, readMessage } from '../relay/message.ts';
import { EventStream } from './event-stream.ts';
import {
  backOffMs,
  type Deliver,
  HttpFailure,
  httpFailure,
  mediaType,
  notMcp,
  type Send,
  type SendOptions,
  type ServerTransport,
  STABLE_STREAM_MS,
} from './server-transport.ts';
import { SessionState } from './session.ts';

/*
 * The HTTP+SSE transport of revision 2024-11-05. One stream brings every message from the server. Its first event names
 * the URL for the client's POSTs.
 */

/** Time limit for the server to name that URL, in milliseconds. */
const ENDPOINT_MS = 30_000;

/** One stream, and its URL. */
interface Connection {
  readonly endpoint: string;
  /** Rejects when the stream ends. */
  readonly over: Promise<never>;
  /**
   * Called when the stream ends. Waiters use this set, since the promise would retain them as long as the stream lasts.
   */
  readonly waiting: Set<(error: Error) => void>;
  lost?: Error;
  readonly end: () => void;
  /** The negotiated revision. */
  version?: string;
}

export class HttpSse implements ServerTransport {
  readonly #url: string;
  readonly #send: Send;
  readonly #deliver: Deliver;
  readonly #closed = new AbortController();
  #connection: Promise<Connection> | undefined;
  #state = new SessionState(undefined);
  /** Number of streams in a row that ended soon after they began. */
  #failures = 0;
  /** Takes the answers while a session is restarted, since no client waits for them. */
  #replaying = new Map<string | number, () => void>();

  constructor(url: string, send: Send, deliver: Deliver) {
    this.#url = url;
    this.#send = send;
    this.#deliver = deliver;
  }

  /**
   * Opens the stream.
   *
   * @throws the error of `send` if the server has no such stream
   */
  async connect({ signal, person }: Pick<SendOptions, 'signal' | 'person'>): Promise<void> {
    await this.#connected(signal, person);
  }

  async send(incoming: Incoming, { signal, person, answered }: SendOptions): Promise<void> {
    const isInitialize = incoming.messages.some(({ method }) => method === 'initialize');
    if (isInitialize) this.#state = new SessionState(incoming);
    let connection = await this.#connected(signal, person);
    try {
      await this.#post(connection, incoming, signal, person);
    } catch (error) {
      if (!(error instanceof HttpFailure) || ![400, 404, 410].includes(error.status)) throw error;
      // The server no longer knows the session. It has not acted on this message, so sending it again is safe.
      connection.end();
      await connection.over.catch(() => {});
      connection = await this.#connected(signal, person);
      await this.#post(connection, incoming, signal, person);
    }
    this.#state.learn(incoming);
    if (incoming.messages.some(isRequest)) await settled(answered, connection, signal);
  }

  async close(): Promise<void> {
    this.#closed.abort();
  }

  async #post({ endpoint, version }: Connection, incoming: Incoming, signal: AbortSignal, person: boolean) {
    const headers = {
      'content-type': 'application/json',
      ...(version !== undefined && { 'mcp-protocol-version': version }),
    };
    const response = await this.#send(
      endpoint,
      { method: 'POST', headers, body: incoming.text, signal },
      person,
    );
    if (!response.ok) throw await httpFailure(response);
    response.discard();
  }

  #connected(signal: AbortSignal, person: boolean): Promise<Connection> {
    if (this.#connection === undefined) {
      const connection = this.#open(person);
      const began = performance.now();
      this.#connection = connection;
      connection.then(
        ({ over }) => over.catch(() => this.#lost(connection, performance.now() - began)),
        () => this.#forget(connection),
      );
    }
    return Promise.race([this.#connection, ended(signal)]);
  }

  #forget(connection: Promise<Connection>): boolean {
    const isCurrent = this.#connection === connection;
    if (isCurrent) this.#connection = undefined;
    return isCurrent;
  }

  /** Opens the next stream after one broke off, and introduces the client to the server again. */
  async #lost(connection: Promise<Connection>, lastedMs: number): Promise<void> {
    if (!this.#forget(connection) || this.#state.initialized === undefined) return;
    const { signal } = this.#closed;
    if (lastedMs > STABLE_STREAM_MS) this.#failures = 0;
    while (!signal.aborted && this.#connection === undefined) {
      this.#failures += 1;
      try {
        await delay(backOffMs(this.#failures), undefined, { signal, ref: false });
        await this.#connected(signal, false);
      } catch (error) {
        if (error instanceof LoginRequiredError) return;
      }
    }
  }

  async #open(person: boolean): Promise<Connection> {
    const { signal } = this.#closed;
    const response = await this.#send(
      this.#url,
      { method: 'GET', headers: { accept: 'text/event-stream' }, signal },
      person,
    );
    if (!response.ok) throw await httpFailure(response);
    if (mediaType(response) !== 'text/event-stream') {
      response.destroy();
      throw notMcp(response, 'has no stream of events there');
    }
    const connection = await this.#endpoint(response);
    const { initialized } = this.#state;
    if (initialized !== undefined) await this.#replay(connection);
    return connection;
  }

  #endpoint(response: HttpResponse): Promise<Connection> {
    return new Promise((resolve, reject) => {
      let connection: Connection | undefined;
      const waiting: Connection['waiting'] = new Set();
      let lose: (error: Error) => void = () => {};
      const late = setTimeout(() => {
        response.destroy();
        reject(notMcp(response, 'named no URL for messages in time'));
      }, ENDPOINT_MS);
      const events = new EventStream(({ type, data }) => {
        if (type === 'endpoint' && connection === undefined) {
          const endpoint = endpointOf(data, this.#url);
          clearTimeout(late);
          const over = new Promise<never>((_resolve, rejectOver) => (lose = rejectOver));
          over.catch((error: Error) => {
            if (connection !== undefined) connection.lost = error;
            for (const tell of waiting) tell(error);
          });
          connection = { endpoint, over, waiting, end: () => response.destroy() };
          resolve(connection);
        } else if (type === 'message') {
          const incoming = readMessage(data);
          if (incoming !== undefined) this.#receive(incoming, connection);
        }
      });
      response
        .chunks((chunk) => events.write(chunk))
        .then(
          () => lost(new Error('The server ended the stream.')),
          (error: Error) => lost(error),
        );
      const lost = (cause: Error) => {
        clearTimeout(late);
        lose(
          new NetworkError(`The connection to ${new URL(this.#url).host} broke off before the answer came.`, {
            cause,
            hint: 'The server may have done what it was asked. Look before you ask again.',
          }),
        );
        const known = cause instanceof UnsafeUrlError || cause instanceof InvalidResponseError;
        reject(known ? cause : notMcp(response, 'ended its stream without naming a URL for messages'));
      };
    });
  }

  #receive(incoming: Incoming, connection: Connection | undefined): void {
    const [message] = incoming.messages;
    if (message?.method === undefined && message?.id !== undefined) {
      const version = isObject(message.result) ? message.result['protocolVersion'] : undefined;
      if (typeof version === 'string' && connection !== undefined) connection.version = version;
      const replayed = this.#replaying.get(message.id);
      if (replayed !== undefined) return replayed();
    }
    this.#deliver(incoming);
  }

  async #replay(connection: Connection): Promise<void> {
    for (const incoming of this.#state.replay()) {
      const id = incoming.messages.find(isRequest)?.id;
      const answered = new Promise<void>((resolve) => id !== undefined && this.#replaying.set(id, resolve));
      try {
        await this.#post(connection, incoming, this.#closed.signal, false);
        if (id !== undefined) await Promise.race([answered, connection.over]);
      } finally {
        if (id !== undefined) this.#replaying.delete(id);
      }
    }
  }
}

/** The URL must have the same origin, as the specification requires: the login is sent to it. */
function endpointOf(data: string, base: string): string {
  const url = URL.canParse(data, base) ? new URL(data, base) : undefined;
  if (url !== undefined && url.origin === new URL(base).origin) return url.href;
  throw new UnsafeUrlError(`The server names ${quote(data)} as the URL for messages, which is not its own.`, {
    hint: 'Nothing was sent there. Tell who runs the server.',
  });
}

/** Waits for the answer. Rejects when its stream is lost, or when the signal aborts. */
async function settled(answered: Promise<void>, connection: Connection, signal: AbortSignal): Promise<void> {
  const { waiting } = connection;
  if (connection.lost !== undefined) throw connection.lost;
  let tell: (error: Error) => void = () => {};
  const lost = new Promise<never>((_resolve, reject) => (tell = reject));
  waiting.add(tell);
  try {
    await Promise.race([answered, lost, ended(signal)]);
  } finally {
    waiting.delete(tell);
  }
}

function ended(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
