import { HoldfastError } from '../errors.ts';
import { CODE } from './message.ts';
import { HttpFailure } from './wire.ts';

/** What only a person can mend: a login that is missing, or was not made; a keyring that is locked; a record that is damaged. */
export function isForPerson(error: unknown): error is HoldfastError {
  if (!(error instanceof HoldfastError)) return false;
  return /^(login-|insufficient-scope$|keyring-|key-unavailable$|callback-|aborted$|record-|storage-)/.test(
    error.code,
  );
}

/** The server's own error as it is; for all else, what happened and what to do. */
export function rpcError(error: unknown): object {
  if (error instanceof HttpFailure) {
    if (error.rpcError !== undefined) return error.rpcError;
    const data = { status: error.status, ...(error.body === '' ? {} : { body: error.body.slice(0, 2000) }) };
    return { code: CODE.unreachable, message: error.message, data };
  }
  const data = error instanceof HoldfastError ? { code: error.code } : undefined;
  return { code: CODE.unreachable, message: describe(error), ...(data && { data }) };
}

export function describe(error: unknown): string {
  if (error instanceof HoldfastError)
    return `${error.message}${error.hint === undefined ? '' : ` ${error.hint}`}`;
  return error instanceof Error ? error.message : String(error);
}
