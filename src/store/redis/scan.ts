import type { Redis } from 'ioredis';
import type { RedisConnection } from './connection.ts';
import type { Script } from './scripts.ts';

/** Number of keys per SCAN request. */
const BATCH = 500;

/**
 * Finds all credentials of a tenant. Redis has no list of them, so the scan visits every server that holds a part of
 * the keys. It blocks a server for one step at most. It finds a key once if the key exists from beginning to end; it
 * may miss a key that comes or goes meanwhile.
 */
export class RedisScan {
  readonly #connection: RedisConnection;
  readonly #start: string;
  readonly #end: string;

  /** @param emptyKey the key that the empty id would have */
  constructor(connection: RedisConnection, emptyKey: string) {
    this.#connection = connection;
    this.#start = emptyKey.slice(0, -1);
    this.#end = emptyKey.slice(-1);
  }

  /** Yields the script's answer for each credential. */
  async *run(script: Script): AsyncGenerator<{ readonly id: string; readonly answer: unknown }> {
    for (const node of await this.#connection.masters()) {
      const seen = new Set<string>();
      let cursor = '0';
      do {
        const at = cursor;
        const [next, found] = await this.#connection.run(() =>
          node.scan(at, 'MATCH', `${this.#start}*${this.#end}`, 'COUNT', BATCH),
        );
        cursor = String(next);
        const keys = [...new Set(found)].filter((key) => !seen.has(key));
        for (const key of keys) seen.add(key);
        for (const [index, answer] of (await this.#answers(node, keys, script)).entries()) {
          yield { id: keys[index]?.slice(this.#start.length, -this.#end.length) ?? '', answer };
        }
      } while (cursor !== '0');
    }
  }

  async #answers(node: Redis, keys: readonly string[], script: Script): Promise<unknown[]> {
    if (keys.length === 0) return [];
    return this.#connection.run(async () => {
      const pipeline = node.pipeline();
      pipeline.script('LOAD', script.text);
      for (const key of keys) pipeline.evalsha(script.sha, 1, key);
      const answers = (await pipeline.exec()) ?? [];
      for (const [error] of answers) if (error !== null) throw error;
      return answers.slice(1).map(([, answer]) => answer);
    });
  }
}
