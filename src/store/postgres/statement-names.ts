import { createHash } from 'node:crypto';
import type { PostgresStatements } from './statements.ts';

/*
 * Names for the statements that each refresh repeats. The server parses and plans a named statement once per
 * connection, and not at each use, which is two thirds of its work for a refresh. The other statements stay unnamed:
 * they are rare, or their best plan depends on their values.
 *
 * A name is a hash of its text. Builds and schemas share the connections of a pooler, and none may run the text of
 * another.
 *
 * A pooler that changes the server connection between two statements loses names and repeats them: PgBouncer before
 * 1.21 in transaction mode, and later ones with `max_prepared_statements = 0`. The first refused name shows that.
 */

const REPEATED = [
  'read',
  'version',
  'kidsOf',
  'create',
  'replace',
  'move',
  'claim',
  'claimVersion',
  'renew',
  'release',
] as const satisfies readonly (keyof PostgresStatements)[];

/** Unnamed uses of a statement before its name pays. A command that ends soon never meets a pooler that refuses names. */
const UNNAMED_USES = 5;

export class StatementNames {
  readonly #named: Map<string, { readonly name: string; uses: number }>;

  constructor(statements: PostgresStatements) {
    this.#named = new Map(
      REPEATED.map((which) => [statements[which], { name: nameOf(statements[which]), uses: 0 }]),
    );
  }

  /** Returns the name for this use of the text, or `undefined` to use it unnamed. */
  next(text: string): string | undefined {
    const named = this.#named.get(text);
    if (named === undefined) return undefined;
    named.uses += 1;
    return named.uses > UNNAMED_USES ? named.name : undefined;
  }

  /** From now on, no statement has a name. */
  giveUp(): void {
    this.#named.clear();
  }
}

function nameOf(text: string): string {
  return `holdfast_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
}
