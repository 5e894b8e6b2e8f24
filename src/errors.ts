import { bareError } from './bare-error.ts';
import { withDisplayUrls } from './display-url.ts';

/**
 * Every failure that a caller can act on has a class with a stable `code`. The message says what happened and why;
 * `hint` says what to do next. Neither ever holds a secret: URLs are shortened here, since some are one, and text from a
 * server is quoted before it goes in.
 */

export type HoldfastErrorCode =
  | 'invalid-argument'
  | 'login-required'
  | 'insufficient-scope'
  | 'token-renewed'
  | 'login-cancelled'
  | 'login-denied'
  | 'login-timeout'
  | 'callback-rejected'
  | 'handover-wrong-key'
  | 'handover-opened'
  | 'handover-expired'
  | 'handover-damaged'
  | 'handover-mismatch'
  | 'handover-newer'
  | 'keyring-absent'
  | 'keyring-locked'
  | 'keyring-denied'
  | 'keyring-broken'
  | 'key-unavailable'
  | 'network'
  | 'timeout'
  | 'refresh-limited'
  | 'unsafe-url'
  | 'response-too-large'
  | 'invalid-response'
  | 'not-an-mcp-server'
  | 'issuer-mismatch'
  | 'server-unsupported'
  | 'oauth-error'
  | 'record-damaged'
  | 'record-newer'
  | 'storage-unsafe'
  | 'storage-unreadable'
  | 'storage-unwritable'
  | 'storage-full'
  | 'lock-timeout'
  | 'lock-unsupported'
  | 'lease-lost'
  | 'store-unreachable'
  | 'store-denied'
  | 'store-unsuitable'
  | 'vault-closed'
  | 'aborted';

export interface HoldfastErrorOptions {
  /** What to do next, as a sentence or a command. */
  hint?: string;
  /** One of ours is kept as it is; of any other only what `bareError` leaves of it. */
  cause?: unknown;
}

/** The base of every error that Holdfast throws on purpose. */
export abstract class HoldfastError extends Error {
  /** Stable: programs branch on it. */
  abstract readonly code: HoldfastErrorCode;
  /** What to do next. */
  readonly hint: string | undefined;
  /** Whether the same call may succeed later with nothing changed on this side. */
  readonly retryable: boolean = false;

  constructor(message: string, options: HoldfastErrorOptions = {}) {
    const { cause } = options;
    super(withDisplayUrls(message), cause === undefined ? undefined : { cause: keptCause(cause) });
    this.name = new.target.name;
    this.hint = options.hint === undefined ? undefined : withDisplayUrls(options.hint);
  }
}

/** Marks an error as one to retry later, where others of its class do not pass. */
export function retryable<T extends HoldfastError>(error: T): T {
  return Object.defineProperty(error, 'retryable', { value: true, enumerable: true });
}

/** The same failure, of the same class, told as part of a larger one. Its hint stays where no other is given. */
export function reworded(cause: HoldfastError, message: string, { hint = cause.hint } = {}): HoldfastError {
  const Known = cause.constructor as new (message: string, options: object) => HoldfastError;
  const error = new Known(message, { cause, ...(hint === undefined ? {} : { hint }) });
  return cause.retryable && !error.retryable ? retryable(error) : error;
}

/** What may stand as the cause of an error: one of ours, or what `bareError` leaves of any other. */
export function keptCause(cause: unknown): Error {
  return cause instanceof HoldfastError ? cause : bareError(cause);
}

/** The caller gave something unusable; nothing was touched. */
export class InvalidArgumentError extends HoldfastError {
  override readonly code = 'invalid-argument';
}

/** There is no usable credential; only a person logging in can mend that. */
export class LoginRequiredError extends HoldfastError {
  override readonly code = 'login-required';
}

/** The MCP server asks for scopes that the login lacks (RFC 6750 section 3.1). */
export class InsufficientScopeError extends HoldfastError {
  override readonly code = 'insufficient-scope';
}

/** The server refused a token, which was renewed; the request could not be sent again from where that was seen. */
export class TokenRenewedError extends HoldfastError {
  override readonly code = 'token-renewed';
  override readonly retryable = true;
}

/** The person, or the program, gave the login up. */
export class LoginCancelledError extends HoldfastError {
  override readonly code = 'login-cancelled';
}

/** The authorization server, or the person at it, refused (RFC 6749 section 4.1.2.1). */
export class LoginDeniedError extends HoldfastError {
  override readonly code = 'login-denied';
}

/** Nobody finished the login in the browser in time. */
export class LoginTimeoutError extends HoldfastError {
  override readonly code = 'login-timeout';
  override readonly retryable = true;
}

/** The redirect back did not belong to this login: wrong `state`, wrong `iss`, no `code` (RFC 9700 section 4). */
export class CallbackRejectedError extends HoldfastError {
  override readonly code = 'callback-rejected';
}

/** A hand-over blob was sealed for another code than any that this machine has made, or still keeps. */
export class HandoverWrongKeyError extends HoldfastError {
  override readonly code = 'handover-wrong-key';
}

/** A hand-over blob was opened before; its key was destroyed then. */
export class HandoverOpenedError extends HoldfastError {
  override readonly code = 'handover-opened';
}

/** A hand-over blob, or the code that it was sealed for, is past its time. */
export class HandoverExpiredError extends HoldfastError {
  override readonly code = 'handover-expired';
}

/** A hand-over blob was cut or altered, or is none at all. */
export class HandoverDamagedError extends HoldfastError {
  override readonly code = 'handover-damaged';
}

/** A hand-over blob holds the login to another server, or for another account, than the one that is waited for. */
export class HandoverMismatchError extends HoldfastError {
  override readonly code = 'handover-mismatch';
}

/** A hand-over blob was made by a newer Holdfast. */
export class HandoverNewerError extends HoldfastError {
  override readonly code = 'handover-newer';
}

/** That keyring does not exist here. */
export class KeyringAbsentError extends HoldfastError {
  override readonly code = 'keyring-absent';
}

/** That keyring is here, but a person must unlock it first. */
export class KeyringLockedError extends HoldfastError {
  override readonly code = 'keyring-locked';
}

/** That keyring is here and refuses this program. */
export class KeyringDeniedError extends HoldfastError {
  override readonly code = 'keyring-denied';
}

/** That keyring is here and does not work: it hangs, answers nonsense, or what it holds is damaged. */
export class KeyringBrokenError extends HoldfastError {
  override readonly code = 'keyring-broken';
}

/** There is a credential, sealed under a key that no keyring reachable from here holds. */
export class KeyUnavailableError extends HoldfastError {
  override readonly code = 'key-unavailable';
}

/** The request failed below HTTP, or the server said that it cannot answer now (5xx, 429). */
export class NetworkError extends HoldfastError {
  override readonly code = 'network';
  override readonly retryable = true;
  /** Whether the request provably never left this machine, so that sending it again repeats nothing. */
  readonly unsent: boolean;
  /** What the server asked for in `Retry-After`, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** For how long the server may still process the request, in milliseconds; 0 where it has answered, or never got it. */
  readonly inDoubtMs: number;

  constructor(
    message: string,
    options: HoldfastErrorOptions & {
      unsent?: boolean;
      retryAfterMs?: number | undefined;
      inDoubtMs?: number;
    } = {},
  ) {
    super(message, options);
    this.unsent = options.unsent ?? false;
    this.retryAfterMs = options.retryAfterMs;
    this.inDoubtMs = options.inDoubtMs ?? 0;
  }
}

/** The server did not answer in time; it may still act on the request. */
export class TimeoutError extends HoldfastError {
  override readonly code = 'timeout';
  override readonly retryable = true;
}

/** The last refreshes yielded no usable token, so the server is not asked again for a while. */
export class RefreshLimitedError extends HoldfastError {
  override readonly code = 'refresh-limited';
  override readonly retryable = true;
}

/** A URL that must not be opened or requested: wrong scheme, plain http to another host, credentials in it. */
export class UnsafeUrlError extends HoldfastError {
  override readonly code = 'unsafe-url';
}

/** The response was larger than anything that this protocol needs; reading stopped there. */
export class ResponseTooLargeError extends HoldfastError {
  override readonly code = 'response-too-large';
}

/** The response is not what the standard prescribes. */
export class InvalidResponseError extends HoldfastError {
  override readonly code = 'invalid-response';
}

/** What answers at that URL does not speak MCP authorization. */
export class NotAnMcpServerError extends HoldfastError {
  override readonly code = 'not-an-mcp-server';
}

/** The authorization server calls itself something else than where it was found (RFC 8414 section 3.3). */
export class IssuerMismatchError extends HoldfastError {
  override readonly code = 'issuer-mismatch';
}

/** The authorization server lacks something that a safe login needs. */
export class ServerUnsupportedError extends HoldfastError {
  override readonly code = 'server-unsupported';
}

/** The authorization server answered with an error of RFC 6749 section 5.2. */
export class OAuthError extends HoldfastError {
  override readonly code = 'oauth-error';
  /** The server's `error` code, such as `invalid_grant`. Restricted to the characters that the RFC allows. */
  readonly error: string;

  constructor(message: string, options: HoldfastErrorOptions & { error: string }) {
    super(message, options);
    this.error = options.error;
  }
}

/** A record is there and fails authentication: altered, cut, or copied from elsewhere. */
export class RecordDamagedError extends HoldfastError {
  override readonly code = 'record-damaged';
}

/** A record was written by a newer Holdfast; this one leaves it alone. */
export class RecordNewerError extends HoldfastError {
  override readonly code = 'record-newer';
}

/** A file or directory can be read or replaced by others: a symlink, a foreign owner, loose modes. */
export class StorageUnsafeError extends HoldfastError {
  override readonly code = 'storage-unsafe';
}

/** A file or directory of ours is there and cannot be read: no permission, an I/O error. */
export class StorageUnreadableError extends HoldfastError {
  override readonly code = 'storage-unreadable';
}

/** The place for credentials cannot be written: read-only, no permission, no such directory. */
export class StorageUnwritableError extends HoldfastError {
  override readonly code = 'storage-unwritable';
}

/** No space, or no quota, is left where credentials lie. */
export class StorageFullError extends HoldfastError {
  override readonly code = 'storage-full';
}

/** Another process held the lock for longer than the caller would wait. */
export class LockTimeoutError extends HoldfastError {
  override readonly code = 'lock-timeout';
  override readonly retryable = true;
}

/** This platform or file system has no lock that dies with its holder. */
export class LockUnsupportedError extends HoldfastError {
  override readonly code = 'lock-unsupported';
}

/** The lease of a refresh may have passed to another holder, so nothing was sent. */
export class LeaseLostError extends HoldfastError {
  override readonly code = 'lease-lost';
  override readonly retryable = true;
}

/** The engine that keeps the records does not answer, or not now. */
export class StoreUnreachableError extends HoldfastError {
  override readonly code = 'store-unreachable';
  override readonly retryable = true;
}

/** The engine that keeps the records answers, and refuses: who we are, or what we want to do. */
export class StoreDeniedError extends HoldfastError {
  override readonly code = 'store-denied';
}

/** The engine that keeps the records cannot keep them as it is: wrong schema, a replica that is read only, no durability. */
export class StoreUnsuitableError extends HoldfastError {
  override readonly code = 'store-unsuitable';
}

/** The vault was closed. */
export class VaultClosedError extends HoldfastError {
  override readonly code = 'vault-closed';
}

/** The caller's own AbortSignal ended the wait. */
export class AbortedError extends HoldfastError {
  override readonly code = 'aborted';
}
