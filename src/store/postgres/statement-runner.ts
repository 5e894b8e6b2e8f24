import { StoreUnreachableError } from '../../errors.ts';
import { isCollision, isNameRefused, isUndone, leadsElsewhere, postgresError } from './errors.ts';
import type { Row } from './row.ts';
import { StatementNames } from './statement-names.ts';
import type { PostgresStatements } from './statements.ts';
import type { PostgresPool } from './store-options.ts';

export interface StatementRunnerOptions {
  readonly pool: PostgresPool;
  /** The engine, as it is shown to people. */
  readonly id: string;
  /** Time limit for one statement, in milliseconds; afterwards its connection is dropped. */
  readonly timeoutMs: number;
  /** Called when the open connections may lead to a demoted server. */
  readonly renew: () => void;
}

/** Maximum number of tries. A statement is retried when it collides with another and the server undoes it. */
const TRIES = 3;

/** The whole statement was undone, because a part of it found nothing to change. */
export class UndoneError extends Error {}

/** Runs single statements. Retries one only where the server said that it changed nothing. */
export class StatementRunner {
  readonly #options: StatementRunnerOptions;
  readonly #names: StatementNames;
  #renewals = 0;

  constructor(options: StatementRunnerOptions, statements: PostgresStatements) {
    this.#options = options;
    this.#names = new StatementNames(statements);
  }

  /**
   * @param values `undefined` to send several statements in one text
   * @throws UndoneError
   * @throws the errors of `postgresError`
   */
  async run(text: string, values: unknown[] | undefined): Promise<Row[]> {
    for (let tries = 1; ; tries += 1) {
      const renewals = this.#renewals;
      const name = this.#names.next(text);
      try {
        return await this.#answered({ text, ...(values && { values }), ...(name && { name }) });
      } catch (error) {
        if (isUndone(error)) throw new UndoneError();
        if (isCollision(error) && tries < TRIES) continue;
        if (name !== undefined && isNameRefused(error)) {
          // Nothing of it ran. Unnamed, it depends on nothing that a connection remembers.
          this.#names.giveUp();
          continue;
        }
        // If many calls meet the same server, only one replaces the connections.
        if (leadsElsewhere(error) && renewals === this.#renewals) {
          this.#renewals += 1;
          this.#options.renew();
        }
        throw postgresError(error, this.#options.id);
      }
    }
  }

  /**
   * `pg` drops a connection that does not answer. This limit also ends the wait for a connection of the caller's pool.
   */
  async #answered(query: Parameters<PostgresPool['query']>[0]): Promise<Row[]> {
    const { pool, timeoutMs, id } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(
          new StoreUnreachableError(`${id} has not answered for ${2 * timeoutMs} ms.`, {
            hint: 'See whether it runs, and whether its pool has connections to spare; then try again.',
          }),
        );
      }, 2 * timeoutMs);
    });
    try {
      return (await Promise.race([pool.query({ ...query, query_timeout: timeoutMs }), late])).rows;
    } finally {
      clearTimeout(timer);
    }
  }
}
