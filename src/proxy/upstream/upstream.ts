import type { Incoming } from '../relay/message.ts';
import { isForPerson } from '../relay/rpc-error.ts';
import { HttpSse } from './http-sse.ts';
import type { RequestHeaders } from './request-headers.ts';
import {
  type Deliver,
  HttpFailure,
  type Send,
  type SendOptions,
  type ServerTransport,
} from './server-transport.ts';
import { StreamableHttp } from './streamable-http.ts';

export const TRANSPORTS = ['http-first', 'sse-first', 'http-only', 'sse-only'] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** The statuses after which a client tries the older transport (MCP specification, "Backwards Compatibility"). */
const OLDER_SERVER = [400, 404, 405];

/** Picks the transport that the server speaks. The first message that needs to know decides. */
export class Upstream implements ServerTransport {
  readonly #streamable: StreamableHttp;
  readonly #sse: HttpSse;
  readonly #transport: Transport;
  #settled: ServerTransport | undefined;
  #trying: Promise<void> = Promise.resolve();

  constructor(
    url: string,
    transport: Transport,
    parts: { send: Send; deliver: Deliver; requestHeaders: RequestHeaders },
  ) {
    this.#transport = transport;
    this.#streamable = new StreamableHttp(url, parts.send, parts.deliver, parts.requestHeaders);
    this.#sse = new HttpSse(url, parts.send, parts.deliver);
    if (transport === 'http-only') this.#settled = this.#streamable;
    if (transport === 'sse-only') this.#settled = this.#sse;
  }

  async send(incoming: Incoming, options: SendOptions): Promise<void> {
    if (this.#settled !== undefined) return this.#settled.send(incoming, options);
    if (this.#transport === 'sse-first') {
      await this.#onlyOne(() => this.#preferSse(options));
      return (this.#settled ?? this.#streamable).send(incoming, options);
    }
    const isInitialize = incoming.messages.some(({ method }) => method === 'initialize');
    try {
      await this.#streamable.send(incoming, options);
      if (isInitialize) this.#settled = this.#streamable;
    } catch (error) {
      const isOlder = isInitialize && error instanceof HttpFailure && OLDER_SERVER.includes(error.status);
      if (!isOlder) throw error;
      try {
        await this.#sse.connect(options);
      } catch (other) {
        throw isForPerson(other) ? other : error;
      }
      this.#settled = this.#sse;
      await this.#sse.send(incoming, options);
    }
  }

  async close(limitMs: number): Promise<void> {
    await Promise.all([this.#streamable.close(limitMs), this.#sse.close()]);
  }

  async #preferSse(options: SendOptions): Promise<void> {
    if (this.#settled !== undefined) return;
    try {
      await this.#sse.connect(options);
      this.#settled = this.#sse;
    } catch (error) {
      if (!(error instanceof HttpFailure || (error as { code?: unknown }).code === 'invalid-response'))
        throw error;
      this.#settled = this.#streamable;
    }
  }

  #onlyOne(step: () => Promise<void>): Promise<void> {
    const next = this.#trying.then(step);
    this.#trying = next.catch(() => {});
    return next;
  }
}
