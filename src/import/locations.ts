import { basename } from 'node:path';
import { HoldfastError } from '../errors.ts';
import type { Findings, Skipped } from './source.ts';
import { findIn, type StoreFile } from './source-file.ts';

/* The places where one peer may have logins: its files, and the OS keyring. */

/** A place where a peer may have logins, by its path, or by what it is called. */
export interface SourceLocation {
  readonly where: string;
  readonly found: Promise<Findings>;
}

/**
 * What is in those places, each of which counts even where another one is damaged or locked.
 *
 * @throws what a place threw, where no other one has a login: what is locked must not read as no login
 */
export async function findInAll(places: readonly SourceLocation[]): Promise<Findings> {
  const results = await Promise.allSettled(places.map(({ found }) => found));
  const findings = results.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const logins = findings.flatMap((one) => one.logins);
  const skipped: Skipped[] = findings.flatMap((one) => one.skipped);
  for (const [at, result] of results.entries()) {
    if (result.status === 'fulfilled') continue;
    const error: unknown = result.reason;
    if (!(error instanceof HoldfastError) || logins.length === 0) throw error;
    const where = places[at]?.where ?? '';
    const hint = error.hint === undefined ? '' : ` (${error.hint.replace(/\.$/, '')})`;
    const reason = error.message.replace(/\.$/, '') + hint;
    skipped.push({ name: basename(where), file: where, reason });
  }
  return { logins, skipped, places: findings.flatMap((one) => one.places) };
}

/** Its files, by the first of which they are called. */
export function filesLocation(files: readonly [StoreFile, ...StoreFile[]]): SourceLocation {
  return { where: files[0].path, found: findIn(files) };
}
