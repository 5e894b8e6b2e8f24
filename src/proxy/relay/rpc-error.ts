import { withDisplayUrls } from '../../display-url.ts';
import { HoldfastError } from '../../errors.ts';
import { printableLines } from '../../quote.ts';
import { HttpFailure } from '../upstream/server-transport.ts';
import { CODE } from './message.ts';

/** Tells whether only a user can fix this error: a missing or failed login, a locked keyring, a damaged record. */
export function isForPerson(error: unknown): error is HoldfastError {
  if (!(error instanceof HoldfastError)) return false;
  return /^(login-|insufficient-scope$|callback-|aborted$)/.test(error.code) || isUnusable(error);
}

/** Tells whether the error hides a login that may exist. A new login does not fix it. */
export function isUnusable(error: unknown): boolean {
  return (
    error instanceof HoldfastError && /^(keyring-|key-unavailable$|record-|storage-|store-)/.test(error.code)
  );
}

/** The server's own error unchanged; for any other error, what happened and what to do. */
export function rpcError(error: unknown): object {
  if (error instanceof HttpFailure) {
    if (error.rpcError !== undefined) return error.rpcError;
    const body = printableLines(error.body.slice(0, 2000));
    const data = { status: error.status, ...(body === '' ? {} : { body }) };
    return { code: CODE.unreachable, message: describe(error), data };
  }
  const data = error instanceof HoldfastError ? { code: error.code } : undefined;
  return { code: CODE.unreachable, message: describe(error), ...(data && { data }) };
}

export function describe(error: unknown): string {
  const text =
    error instanceof HoldfastError
      ? `${error.message}${error.hint === undefined ? '' : ` ${error.hint}`}`
      : error instanceof Error
        ? error.message
        : String(error);
  return printableLines(withDisplayUrls(text));
}
