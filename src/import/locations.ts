import { basename } from 'node:path';
import { HoldfastError } from '../errors.ts';
import type { Findings, Skipped } from './source.ts';
import { findIn, type StoreFile } from './source-file.ts';

/* The locations of one source's logins: its files, and the OS keyring. */

/** A location that may hold a source's logins, with its path or display name. */
export interface SourceLocation {
  readonly where: string;
  readonly found: Promise<Findings>;
}

/**
 * The logins in all locations. A damaged or locked location does not hide the others.
 *
 * @throws the error of a location, if no other location has a login: a locked location must not read as no login
 */
export async function findInAll(locations: readonly SourceLocation[]): Promise<Findings> {
  const results = await Promise.allSettled(locations.map(({ found }) => found));
  const findings = results.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const logins = findings.flatMap((one) => one.logins);
  const skipped: Skipped[] = findings.flatMap((one) => one.skipped);
  for (const [at, result] of results.entries()) {
    if (result.status === 'fulfilled') continue;
    const error: unknown = result.reason;
    if (!(error instanceof HoldfastError) || logins.length === 0) throw error;
    const where = locations[at]?.where ?? '';
    const hint = error.hint === undefined ? '' : ` (${error.hint.replace(/\.$/, '')})`;
    const reason = error.message.replace(/\.$/, '') + hint;
    skipped.push({ name: basename(where), file: where, reason });
  }
  return { logins, skipped, searched: findings.flatMap((one) => one.searched) };
}

/** The source's files, named by the first one. */
export function filesLocation(files: readonly [StoreFile, ...StoreFile[]]): SourceLocation {
  return { where: files[0].path, found: findIn(files) };
}
