import { randomBytes } from 'node:crypto';
import { StoreUnreachableError } from '../../errors.ts';
import type { RedisConnection } from './connection.ts';

/**
 * Waits until what was written before is on the server's disk, where an answer does not mean that (`appendfsync everysec`),
 * or the server does not tell. WAITAOF (Redis 7.2) holds its connection up, and answers for the writes of that connection only: so there is
 * one of its own, with a write of its own, which comes after those that wait for it. However many wait, one at a time is asked.
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
    // So that the server gives up before the connection does.
    this.#waitMs = Math.ceil(timeoutMs * 0.8);
  }

  /** @throws StoreUnreachableError when it is not known whether it is on the disk; StoreDeniedError */
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
