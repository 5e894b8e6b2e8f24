import {
  HoldfastError,
  InvalidArgumentError,
  StorageFullError,
  StoreDeniedError,
  StoreUnreachableError,
  StoreUnsuitableError,
} from '../../errors.ts';
import { quote } from '../../quote.ts';
import { passing } from '../engine/passing-refusal.ts';
import { FOREIGN_OBJECTS } from './ownership.ts';

/*
 * Maps a failure of PostgreSQL to an error of ours, by its SQLSTATE (appendix A of the manual) or by the code of the
 * broken socket. It shows only the server's message, because the details may quote a row.
 */

const CHECK_PASSWORD = 'Check the user and the password: in the URL, in PGPASSWORD, or in ~/.pgpass.';

const DENIED: ReadonlyMap<string, string> = new Map([
  ['28000', 'Check the user, the database and pg_hba.conf.'],
  ['28P01', CHECK_PASSWORD],
  [
    '42501',
    'Grant it the role that the migration made, and admit it to the tenant; `holdfast store migrate --print` shows how.',
  ],
]);

const UNSUITABLE: ReadonlyMap<string, string> = new Map([
  ['25006', 'Connect to the primary; with several hosts behind one name, to the one that writes.'],
  ['3D000', 'Create the database, or name another one in the URL; then run `holdfast store migrate`.'],
  ['3F000', 'Run `holdfast store migrate`.'],
  ['42P01', 'Run `holdfast store migrate`.'],
  ['42703', 'Run `holdfast store migrate`.'],
  ['42883', 'Run `holdfast store migrate`.'],
]);

/** The server of an open connection became a replica (25006), or an operator stops it (57P01 to 57P03). */
const ELSEWHERE = ['25006', '57P01', '57P02', '57P03'];

/** Temporary refusals with nothing done. A pooler reports them only in its words. */
const PASSING = ['53300', ...ELSEWHERE];
const PASSING_WORDS = /too many (clients|connections)|no more connections allowed|max client connections/i;

/** Whether new connections may lead to another server than the open ones. */
export function leadsElsewhere(error: unknown): boolean {
  return ELSEWHERE.includes(codeOf(error));
}

/** Two statements collided and the server undid one of them. It may be retried at once. */
export function isCollision(error: unknown): boolean {
  return ['40001', '40P01'].includes(codeOf(error));
}

/**
 * The connection does not know the statement of that name (26000), has it already (42P05), or cannot use its plan since
 * a migration (0A000). PgBouncer 1.21 and later says the first two in its words. Each is found before the statement
 * runs, so nothing was changed.
 */
export function isNameRefused(error: unknown): boolean {
  const code = codeOf(error);
  return (
    ['26000', '42P05', '0A000'].includes(code) ||
    (code === '08P01' && messageOf(error).startsWith('prepared statement '))
  );
}

/** The destination was written, but the source had changed, so the whole statement was undone. */
export function isUndone(error: unknown): boolean {
  return codeOf(error) === '22012';
}

/**
 * Maps a failure of PostgreSQL to an error of ours.
 *
 * @param where the engine, as it is shown to people
 */
export function postgresError(error: unknown, where: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const failure = meaningOf(error, where);
  const passes = PASSING.includes(codeOf(error)) || PASSING_WORDS.test(messageOf(error));
  return passes ? passing(failure) : failure;
}

function meaningOf(error: unknown, where: string): HoldfastError {
  const code = codeOf(error);
  const message = messageOf(error);
  const said = message === '' ? '' : `: ${quote(message)}`;
  const by = code === '' ? '' : ` (${quote(code, 40).slice(1, -1)})`;
  if (code === '53100') {
    return new StorageFullError(`The disk of ${where} is full${said}.`, {
      hint: 'Make room on the database server; until then what was refreshed is kept by this process.',
    });
  }
  if (code === FOREIGN_OBJECTS) {
    return new StoreDeniedError(`Nothing was changed in ${where}: ${quote(message, 600)}.`, {
      hint: 'Code in these objects would run with your rights. If another role of yours owns the tables, migrate as that role. Otherwise find out who made them, and drop them.',
    });
  }
  const denied = DENIED.get(code);
  if (denied !== undefined) {
    return new StoreDeniedError(`${where} refuses${by}${said}.`, { hint: denied });
  }
  const unsuitable = UNSUITABLE.get(code);
  if (unsuitable !== undefined) {
    return new StoreUnsuitableError(`${where} cannot keep records as it is${by}${said}.`, {
      hint: unsuitable,
    });
  }
  // Only the client knows that the server asked for a password and none was given.
  if (code === '' && /^SASL: .* client password must be/.test(message)) {
    return new StoreDeniedError(`${where} wants a password, and none was given.`, { hint: CHECK_PASSWORD });
  }
  if (error instanceof Error && 'syscall' in error && error.syscall === 'open') {
    return new InvalidArgumentError(`A file that the PostgreSQL URL names cannot be read${by}${said}.`, {
      hint: 'See what sslrootcert, sslcert and sslkey name, and who may read it.',
    });
  }
  // Errors of the connection (08), of resources (53), of an operator (57) and inside the server (58, XX) are temporary.
  // So are errors without an SQLSTATE, which come from the network (EPIPE looks like an SQLSTATE). All others are
  // statements that the server does not understand.
  if (/^[0-9A-Z]{5}$/.test(code) && !/^(08|40|53|57|58|XX|E)/.test(code)) {
    return new StoreUnsuitableError(`${where} does not understand what Holdfast asks${by}${said}.`, {
      hint: 'Run `holdfast store migrate`, and see whether both are of versions that belong together.',
    });
  }
  return new StoreUnreachableError(`${where} does not answer${by}${said}.`, {
    hint: hintOf(code, message),
  });
}

function hintOf(code: string, message: string): string {
  if (code === '53300') return 'It has no connection left: lower pool_max, or put PgBouncer in front.';
  if (/CERT|UNABLE_TO_VERIFY|ERR_TLS|ERR_SSL/.test(code)) {
    return 'Name the authority that signed its certificate with sslrootcert, and the host as the certificate does. Should both be right, somebody stands between.';
  }
  if (message.includes('SSL connection')) {
    return 'It speaks no TLS: turn that on on the server. Only where nobody can listen, sslmode=disable.';
  }
  return 'See whether it runs and can be reached from here; then try again.';
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0]);
  return error instanceof Error ? error.message : '';
}

function codeOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
