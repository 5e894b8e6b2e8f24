import { randomBytes } from 'node:crypto';
import { StoreUnreachableError } from '../../errors.ts';
import type { RedisConnection } from './connection.ts';

/**
 * Waits until earlier writes are on the server's disk. It is needed where an answer does not mean that (`appendfsync
 * everysec`), or where the server does not tell. WAITAOF (Redis 7.2) blocks its connection, and covers only the writes
 * of that connection. So the barrier has a connection of its own, and makes a write of its own after the writes that
 * wait for it. All callers that wait share one request at a time.
 */
export class Barrier {
  readonly #connection: RedisConnection;
  readonly #key: string;
  readonly #waitMs: number;
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(connection: RedisConnection, key: string, timeoutMs: number) {
    this.#connection = connection;
    this.#key = key;
    // Shorter than the connection's time limit, so that the server gives up first.
    this.#waitMs = Math.ceil(timeoutMs * 0.8);
  }

  /**
   * @throws StoreUnreachableError when it is unknown whether the writes are on the disk
   * @throws StoreDeniedError when the server refuses this user
   */
  pass(): Promise<void> {
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#running = this.#next ?? Promise.resolve();
        this.#next = undefined;
        return this.#ask();
      });
    return this.#next;
  }

  close(): void {
    this.#connection.close();
  }

  async #ask(): Promise<void> {
    const answer = await this.#connection.run(async (client) => {
      const written = client.set(this.#key, randomBytes(6).toString('base64url'));
      const [, kept] = await Promise.all([written, client.call('WAITAOF', 1, 0, this.#waitMs)]);
      return kept;
    });
    if (Array.isArray(answer) && Number(answer[0]) >= 1) return;
    throw new StoreUnreachableError(
      `${this.#connection.where} did not bring what was written to its disk within ${this.#waitMs} ms.`,
      { hint: 'See how busy its disk is, and that `appendfsync` is not `no`.' },
    );
  }
}
