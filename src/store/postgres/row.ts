import { StoreUnsuitableError } from '../../errors.ts';
import type { ClaimAnswer } from '../engine/engine.ts';
import type { StoredRecord } from '../record-store.ts';

/* Reads the columns of an answer, in the types that `pg` gives them by default. */

export type Row = Record<string, unknown>;

export function textOf(row: Row, name: string): string {
  const value = row[name];
  if (typeof value === 'string') return value;
  throw new StoreUnsuitableError(`PostgreSQL answered no text for the column ${name}.`, {
    hint: 'Run `holdfast store migrate`; a pool of your own must parse values as `pg` does by default.',
  });
}

/** `pg` returns counts as text, because a `bigint` may be larger than a number. */
export function numberOf(row: Row, name: string): number {
  const value = row[name];
  const number = typeof value === 'string' && value !== '' ? Number(value) : value;
  if (typeof number === 'number' && Number.isFinite(number)) return number;
  throw new StoreUnsuitableError(`PostgreSQL answered no number for the column ${name}.`, {
    hint: 'Run `holdfast store migrate`; a pool of your own must parse values as `pg` does by default.',
  });
}

/** Reads a row of `read` or `readMany`. */
export function recordOf(row: Row): StoredRecord {
  return { record: textOf(row, 'record'), version: textOf(row, 'version'), ageMs: numberOf(row, 'age_ms') };
}

/** Reads a row of `claim` or `claimVersion`. */
export function grantOf(row: Row | undefined): ClaimAnswer {
  if (row?.['granted'] !== true) return { outcome: 'held' };
  return {
    outcome: 'claimed',
    epoch: numberOf(row, 'epoch'),
    note: row['note'] === null ? undefined : textOf(row, 'note'),
    now: numberOf(row, 'now'),
    abandonedAt: row['abandoned_at'] === null ? undefined : numberOf(row, 'abandoned_at'),
  };
}
