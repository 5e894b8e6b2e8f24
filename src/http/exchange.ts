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
 * Sends one request and reads the head of its answer.
 *
 * It uses node:http instead of fetch, for three reasons. It tells whether a failed request was already on its way,
 * which decides whether a refresh token may be sent again. It never decompresses automatically. And no answer makes it
 * throw where no caller can catch the error.
 */

export interface Fence {
  /** Awaited once the connection is open, before `beforeSend`. If it throws, the request is not sent. */
  readonly onConnected?: (() => Promise<void>) | undefined;
  /** Called right before the first byte is written, after the header is built. If it throws, nothing is written. */
  readonly beforeSend?: (() => void) | undefined;
  /** Called right after the first bytes went to the system, unless `beforeSend` threw. */
  readonly afterSend?: (() => void) | undefined;
}

export interface Exchange extends Pick<Fence, 'beforeSend' | 'afterSend'> {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  /** Opens the connection; made by `agentOver`. */
  readonly agent: HttpAgent;
  readonly maxHeaderBytes: number;
}

/** A request that has started. */
export class Flight {
  readonly outgoing: ClientRequest;
  /** Rejects with Node's error, or with the error that `beforeSend` threw. */
  readonly answer: Promise<IncomingMessage>;
  /** Whether the first byte may have been sent. */
  connected = false;
  #connectedAt = 0;
  /** Whether the head of the answer has arrived. */
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

  /** Runs the fence at the first write: the connection is ready, and the request waits to be flushed into it. */
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
      // Node holds back corked writes until all are there. The fence would then run long before the first byte leaves.
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

  /** Time since the first byte may have been sent, in milliseconds. */
  get sentMsAgo(): number {
    return this.connected ? performance.now() - this.#connectedAt : 0;
  }

  #sending(): void {
    this.connected = true;
    this.#connectedAt = performance.now();
  }
}

/**
 * Makes an agent that uses the connections from `open`, which must be ready for a request.
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

/** The headers of an answer as the standard class. */
export function headersOf({ rawHeaders }: IncomingMessage): Headers {
  const headers = new Headers();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    try {
      headers.append(rawHeaders[i] ?? '', rawHeaders[i + 1] ?? '');
    } catch {
      // Not a valid name or value in HTTP, so nothing here looks for it.
    }
  }
  return headers;
}
