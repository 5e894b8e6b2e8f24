import {
  type AgentOptions,
  type ClientRequest,
  Agent as HttpAgent,
  type IncomingMessage,
  request as overHttp,
} from 'node:http';
import { Agent as HttpsAgent, request as overTls } from 'node:https';
import type { Socket } from 'node:net';
import { step } from '../system/checkpoints.ts';

/*
 * One request, and the head of its answer.
 *
 * On node:http and not on fetch. It tells whether a request was on its way when it failed, which decides whether a refresh
 * token may be presented again; it decompresses nothing by itself; and no answer makes it throw where nobody can catch.
 */

export interface Fence {
  /** Awaited when the connection stands, before `beforeSend`. What it throws keeps the request from leaving. */
  readonly onConnected?: (() => Promise<void>) | undefined;
  /** Called right before the first byte is written, the header built already. What it throws keeps that from leaving. */
  readonly beforeSend?: (() => void) | undefined;
  /** Called right after the first bytes were handed to the system, where `beforeSend` let them go. */
  readonly afterSend?: (() => void) | undefined;
}

export interface Exchange extends Pick<Fence, 'beforeSend' | 'afterSend'> {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  /** Where the connection comes from: `agentOver`. */
  readonly agent: HttpAgent;
  readonly maxHeaderBytes: number;
}

/** A request that has begun. */
export class Flight {
  readonly outgoing: ClientRequest;
  /** Rejects with what Node throws, or with what `beforeSend` threw. */
  readonly answer: Promise<IncomingMessage>;
  /** Whether the first byte may have left. */
  connected = false;
  #connectedAt = 0;
  /** Whether the head of the answer has come. */
  answered = false;

  constructor(url: URL, { method, headers, body, agent, maxHeaderBytes, ...fence }: Exchange) {
    const start = url.protocol === 'https:' ? overTls : overHttp;
    this.outgoing = start(url, { method, headers, agent, maxHeaderSize: maxHeaderBytes });
    this.answer = new Promise<IncomingMessage>((resolve, reject) => {
      this.outgoing
        .on('socket', (socket: Socket) => this.#pass(socket, fence, reject))
        .on('finish', () => {
          if (this.connected) step('request-sent');
        })
        .on('response', (incoming) => {
          this.answered = true;
          resolve(incoming);
        })
        .on('error', reject)
        .on('close', () => reject(new Error('The connection was closed.')))
        .end(body);
    });
  }

  /** The connection is ready, and what was written so far is waiting to be flushed into it. */
  #pass(
    socket: Socket,
    { beforeSend, afterSend }: Pick<Fence, 'beforeSend' | 'afterSend'>,
    reject: (error: unknown) => void,
  ): void {
    if (beforeSend === undefined) {
      this.#sending();
      return;
    }
    const write = socket.write.bind(socket) as (...given: unknown[]) => boolean;
    socket.write = (...given: unknown[]) => {
      Reflect.deleteProperty(socket, 'write');
      // Node holds what it flushes back until all of it is there: then the fence would be passed long before the first byte.
      while (socket.writableCorked > 0) socket.uncork();
      try {
        beforeSend();
      } catch (error) {
        reject(error);
        this.outgoing.destroy();
        return false;
      }
      this.#sending();
      const isTaken = write(...given);
      afterSend?.();
      return isTaken;
    };
  }

  /** How long ago the first byte may have left, in milliseconds. */
  get sentMsAgo(): number {
    return this.connected ? performance.now() - this.#connectedAt : 0;
  }

  #sending(): void {
    this.connected = true;
    this.#connectedAt = performance.now();
  }
}

/**
 * Gives requests the connections that `open` makes, which are ready when it answers.
 *
 * @param options with `keepAlive`, a connection serves one request after another
 */
export function agentOver(url: URL, options: AgentOptions, open: () => Promise<Socket>): HttpAgent {
  const agent = new (url.protocol === 'https:' ? HttpsAgent : HttpAgent)(options);
  agent.createConnection = ((_options: unknown, opened: (error: unknown, socket?: Socket) => void) => {
    open().then(
      (socket) => {
        if (socket.destroyed) opened(new Error('The connection was closed.'));
        else opened(null, socket);
      },
      (error: unknown) => opened(error),
    );
    return undefined;
  }) as never;
  return agent;
}

/** As the standard class has them. */
export function headersOf({ rawHeaders }: IncomingMessage): Headers {
  const headers = new Headers();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    try {
      headers.append(rawHeaders[i] ?? '', rawHeaders[i + 1] ?? '');
    } catch {
      // No name or value that HTTP knows, so none that anything here looks for.
    }
  }
  return headers;
}
