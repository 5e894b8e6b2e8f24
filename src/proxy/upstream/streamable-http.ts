import { setTimeout as delay } from 'node:timers/promises';
import { LoginRequiredError, NetworkError, ResponseTooLargeError } from '../../errors.ts';
import type { HttpResponse } from '../../http/fetch.ts';
import {
  claimedVersion,
  type Incoming,
  isObject,
  isRequest,
  type Message,
  readMessage,
} from '../relay/message.ts';
import { brokenOff, type Position, readEvents } from './answer-stream.ts';
import type { RequestHeaders } from './request-headers.ts';
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
import { endsSession, type Session, SessionState, sessionHeaders } from './session.ts';

/*
 * The client side of MCP's Streamable HTTP transport: with sessions (revisions 2025-03-26 to 2025-11-25), and without
 * (2026-07-28). Every message is a POST; its answer is JSON or a stream of events. A broken stream is resumed if the
 * server numbers its events. In a session, one more stream brings the server's own messages.
 */

/** Maximum number of reconnections in a row without a new event. Then the request counts as failed. */
const MOST_RESUMPTIONS = 8;

/**
 * Maximum number of reconnections in a row without a message. Each waits at least a second, so all take an hour or
 * more.
 */
const MOST_SILENT_RESUMPTIONS = 3_600;

/** Maximum number of sessions within a minute. The limit stops the loop if a server ends each session at once. */
const MOST_RENEWALS = 5;

export class StreamableHttp implements ServerTransport {
  readonly #url: string;
  readonly #send: Send;
  readonly #deliver: Deliver;
  readonly #requestHeaders: RequestHeaders;
  readonly #closed = new AbortController();
  readonly #renewals: number[] = [];
  #session: Session = {};
  #state = new SessionState(undefined);
  #renewing: Promise<void> | undefined;
  #listening: Session | undefined;

  constructor(url: string, send: Send, deliver: Deliver, requestHeaders: RequestHeaders) {
    this.#url = url;
    this.#send = send;
    this.#deliver = deliver;
    this.#requestHeaders = requestHeaders;
  }

  async send(incoming: Incoming, options: SendOptions): Promise<void> {
    const isInitialize = incoming.messages.some(({ method }) => method === 'initialize');
    if (isInitialize) {
      const session: Session = {};
      this.#state = new SessionState(incoming);
      await this.#post(incoming, session, this.#intoSession(session, this.#deliver), options);
      return;
    }
    if (incoming.messages[0]?.method === 'subscriptions/listen') return this.#subscribe(incoming, options);
    for (let renewed = false; ; renewed = true) {
      const session = this.#session;
      try {
        await this.#post(incoming, session, this.#deliver, options);
        break;
      } catch (error) {
        if (renewed || options.signal.aborted) throw error;
        if (endsSession(error, session)) await this.#renew(session, options);
        else if (!(error instanceof NetworkError) || !isRepeatable(incoming)) throw error;
      }
    }
    this.#state.learn(incoming);
    if (this.#state.initialized !== undefined) this.#listen();
  }

  /**
   * A subscription (revision 2026-07-28) is one long answer. If it breaks off, it is requested again without the
   * client's notice.
   */
  async #subscribe(incoming: Incoming, options: SendOptions): Promise<void> {
    let isAcknowledged = false;
    const once: Deliver = (one) => {
      const isAcknowledgement = one.messages[0]?.method === 'notifications/subscriptions/acknowledged';
      if (!isAcknowledgement || !isAcknowledged) this.#deliver(one);
      isAcknowledged ||= isAcknowledgement;
    };
    for (let failures = 0; ; ) {
      const began = performance.now();
      try {
        await this.#post(incoming, this.#session, once, options);
      } catch (error) {
        const isOver = error instanceof HttpFailure && error.status < 500 && error.status !== 429;
        if (!isAcknowledged || isOver || options.signal.aborted || error instanceof LoginRequiredError)
          throw error;
      }
      if (options.isAnswered()) return;
      failures = performance.now() - began > STABLE_STREAM_MS ? 1 : failures + 1;
      await delay(backOffMs(failures), undefined, { signal: options.signal });
    }
  }

  async close(limitMs: number): Promise<void> {
    this.#closed.abort();
    const { id } = this.#session;
    if (id === undefined) return;
    try {
      const headers = sessionHeaders(this.#session);
      const signal = AbortSignal.timeout(limitMs);
      const response = await this.#send(this.#url, { method: 'DELETE', headers, signal }, false);
      response.discard();
    } catch {
      // The server ends the session when it times out.
    }
  }

  async #post(
    incoming: Incoming,
    session: Session,
    deliver: Deliver,
    { signal, person, isAnswered }: Pick<SendOptions, 'signal' | 'person' | 'isAnswered'>,
  ): Promise<void> {
    const headers = {
      ...this.#headersOf(incoming, session),
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    };
    const response = await this.#send(
      this.#url,
      { method: 'POST', headers, body: incoming.text, signal },
      person,
    );
    if (!response.ok) throw await httpFailure(response);
    const id = response.header('mcp-session-id');
    if (session !== this.#session && id !== undefined) session.id = id;
    const type = mediaType(response);
    if (!incoming.messages.some(isRequest)) {
      response.discard();
    } else if (response.status === 202 || response.status === 204) {
      response.discard();
      // Only messages without an answer may get 202: a client would wait forever.
      if (!isAnswered())
        throw notMcp(response, `answered a request with HTTP ${response.status} and no response`);
    } else if (type === 'text/event-stream') {
      await this.#follow(response, session, deliver, { signal, person, isAnswered });
    } else if (type === 'application/json') {
      const answer = readMessage(await response.text());
      if (answer === undefined) throw notMcp(response, 'answered with what is no JSON-RPC message');
      deliver(answer);
      if (!isAnswered()) throw notMcp(response, 'did not answer what it was asked');
    } else {
      response.destroy();
      throw notMcp(response, 'answered with neither JSON nor a stream of events');
    }
  }

  /** Reads an answer's stream to its end, over as many connections as needed. */
  async #follow(
    first: HttpResponse,
    session: Session,
    deliver: Deliver,
    { signal, person, isAnswered }: Pick<SendOptions, 'signal' | 'person' | 'isAnswered'>,
  ): Promise<void> {
    const position: Position = {};
    let response: HttpResponse | undefined = first;
    let silent = 0;
    const heard: Deliver = (incoming) => {
      silent = 0;
      deliver(incoming);
    };
    for (let failures = 0; ; ) {
      let cause: unknown;
      const seen = position.lastEventId;
      try {
        if (response !== undefined) await readEvents(response, position, heard);
      } catch (error) {
        if (signal.aborted || error instanceof ResponseTooLargeError) throw error;
        cause = error;
      }
      if (isAnswered()) return;
      silent += 1;
      const isHopeless = failures === MOST_RESUMPTIONS || silent > MOST_SILENT_RESUMPTIONS;
      if (position.lastEventId === undefined || isHopeless) throw brokenOff(this.#url, cause);
      failures = position.lastEventId === seen ? failures + 1 : 1;
      await delay(backOffMs(failures, position.retryMs), undefined, { signal });
      if (isAnswered()) return;
      response = await this.#stream(session, position, signal, person).catch((error: unknown) => {
        if (error instanceof NetworkError) return undefined;
        throw error;
      });
    }
  }

  /**
   * Reads the stream of the server's own messages. Reopens it as long as the session lasts and the server offers it.
   */
  #listen(): void {
    const session = this.#session;
    if (this.#listening === session || session.hasNoStream === true) return;
    this.#listening = session;
    const signal = this.#closed.signal;
    const isOver = () => signal.aborted || session !== this.#session;
    const run = async () => {
      const position: Position = {};
      for (let failures = 0; !isOver(); ) {
        const began = performance.now();
        try {
          await readEvents(await this.#stream(session, position, signal, false), position, this.#deliver);
        } catch (error) {
          if (isOver() || error instanceof LoginRequiredError) return;
          if (endsSession(error, session)) return await this.#renew(session, { signal, person: false });
          if (error instanceof HttpFailure && error.status < 500 && error.status !== 429) {
            session.hasNoStream = true;
            return;
          }
        }
        failures = performance.now() - began > STABLE_STREAM_MS ? 1 : failures + 1;
        await delay(backOffMs(failures, position.retryMs), undefined, { signal, ref: false });
      }
    };
    void run()
      .catch(() => {
        // Any error is ignored: the next message that gets through opens the stream again.
      })
      .finally(() => {
        if (this.#listening === session) this.#listening = undefined;
      });
  }

  async #stream(session: Session, { lastEventId }: Position, signal: AbortSignal, person: boolean) {
    const headers = { ...sessionHeaders(session), accept: 'text/event-stream' };
    const resumed =
      lastEventId === undefined ? headers : { ...headers, 'last-event-id': fieldOf(lastEventId) };
    const response = await this.#send(this.#url, { method: 'GET', headers: resumed, signal }, person);
    if (!response.ok) throw await httpFailure(response);
    if (mediaType(response) === 'text/event-stream') return response;
    response.destroy();
    // The server sent a page or a document. It has no stream, which is the meaning of 405.
    throw new HttpFailure(new URL(this.#url).host, { status: 405, statusText: 'no stream of events' }, '');
  }

  /** Starts a session in place of one that the server has ended. All requests that notice share it. */
  #renew(stale: Session, { signal, person }: Pick<SendOptions, 'signal' | 'person'>): Promise<void> {
    if (this.#session !== stale) return Promise.resolve();
    this.#renewing ??= this.#begin({ signal: this.#closed.signal, person }).finally(() => {
      this.#renewing = undefined;
    });
    const renewing = this.#renewing;
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      renewing.then(resolve, reject);
    });
  }

  async #begin({ signal, person }: Pick<SendOptions, 'signal' | 'person'>): Promise<void> {
    const now = performance.now();
    this.#renewals.push(now);
    while ((this.#renewals[0] ?? now) < now - 60_000) this.#renewals.shift();
    if (this.#renewals.length > MOST_RENEWALS) {
      throw new NetworkError('The MCP server ends every session as soon as it has begun.', {
        hint: 'Tell who runs the server.',
      });
    }
    const session: Session = {};
    for (const incoming of this.#state.replay()) {
      let answered = false;
      const internal = (answer: Incoming) => {
        for (const message of answer.messages) {
          if (message.method !== undefined) this.#deliver({ ...answer, messages: [message], isBatch: false });
          else answered = true;
        }
      };
      const isFirst = incoming === this.#state.initialize;
      await this.#post(incoming, session, isFirst ? this.#intoSession(session, internal) : internal, {
        signal,
        person,
        isAnswered: () => answered,
      });
    }
    this.#session = session;
    this.#listen();
  }

  /** Applies the answer to `initialize` to the session that it began. */
  #intoSession(session: Session, deliver: Deliver): Deliver {
    return (incoming) => {
      for (const { result } of incoming.messages) {
        if (!isObject(result) || typeof result['protocolVersion'] !== 'string') continue;
        session.version = result['protocolVersion'];
        this.#session = session;
      }
      deliver(incoming);
    };
  }

  #headersOf({ messages }: Incoming, session: Session): Record<string, string> {
    const [message] = messages as [Message, ...Message[]];
    const version = claimedVersion(message);
    if (version !== undefined) return this.#requestHeaders.of(message, version);
    return message.method === 'initialize' ? {} : sessionHeaders(session);
  }
}

/** The text in UTF-8, as the HTML standard requires (section 9.2.3), in the characters that Node writes as bytes. */
function fieldOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** A request that changes nothing at the server may be sent twice, if the connection broke off before an answer. */
function isRepeatable({ messages }: Incoming): boolean {
  const methods =
    /^(ping|server\/discover|(tools|prompts|resources|resources\/templates)\/list|prompts\/get|resources\/read)$/;
  return messages.every(({ method }) => method !== undefined && methods.test(method));
}
