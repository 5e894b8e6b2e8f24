import { withDisplayUrls } from './display-url.ts';
import { bareError } from './values/bare-error.ts';

/**
 * Every failure that a caller can act on has a class with a stable `code`. The message says what happened and why;
 * `hint` says what to do next. Neither ever contains a secret: URLs may be secret, so they are shortened here, and text
 * from a server is quoted before it is inserted.
 */

export interface HoldfastErrorOptions {
  /** What to do next, as a sentence or a command. */
  hint?: string;
  /** A Holdfast error stays unchanged; `bareError` reduces any other error. */
  cause?: unknown;
}

const BRAND = Symbol.for('holdfast.error');

/** The base class of every error that Holdfast throws on purpose. */
export abstract class HoldfastError extends Error {
  /** Stable: programs branch on it. `AnyHoldfastError` says which class has which code. */
  abstract readonly code: HoldfastErrorCode;
  /** What to do next. */
  readonly hint: string | undefined;
  /** Whether the same call may succeed later without a change on this side. */
  readonly retryable: boolean = false;

  constructor(message: string, options: HoldfastErrorOptions = {}) {
    const { cause } = options;
    super(withDisplayUrls(message), cause === undefined ? undefined : { cause: keptCause(cause) });
    this.name = new.target.name;
    this.hint = options.hint === undefined ? undefined : withDisplayUrls(options.hint);
  }

  get [BRAND](): true {
    return true;
  }
}

/**
 * Whether a value is an error of Holdfast. It recognizes errors of another copy of this package too, which `instanceof`
 * does not. A switch over `code` then knows the class.
 */
export function isHoldfastError(value: unknown): value is AnyHoldfastError {
  return value instanceof Error && BRAND in value;
}

/** Marks an error as retryable although its class is not. */
export function retryable<T extends HoldfastError>(error: T): T {
  return Object.defineProperty(error, 'retryable', { value: true, enumerable: true });
}

/** Wraps a failure in an error of the same class with a wider message. Keeps its hint unless another is given. */
export function reworded(cause: HoldfastError, message: string, { hint = cause.hint } = {}): HoldfastError {
  const Known = cause.constructor as new (message: string, options: object) => HoldfastError;
  const error = new Known(message, { cause, ...(hint === undefined ? {} : { hint }) });
  return cause.retryable && !error.retryable ? retryable(error) : error;
}

/** Returns the allowed cause of an error: a Holdfast error, or what `bareError` leaves of another. */
export function keptCause(cause: unknown): Error {
  return cause instanceof HoldfastError ? cause : bareError(cause);
}

/** The caller's input cannot be used; nothing was changed. */
export class InvalidArgumentError extends HoldfastError {
  override readonly code = 'invalid-argument';
}

/** There is no usable credential; only a login by a person can fix that. */
export class LoginRequiredError extends HoldfastError {
  override readonly code = 'login-required';
}

/** The MCP server requires scopes that the login lacks (RFC 6750 section 3.1). */
export class InsufficientScopeError extends HoldfastError {
  override readonly code = 'insufficient-scope';
}

/** The server refused a token, which was renewed; the code that noticed could not send the request again. */
export class TokenRenewedError extends HoldfastError {
  override readonly code = 'token-renewed';
  override readonly retryable = true;
}

/** The person or the program cancelled the login. */
export class LoginCancelledError extends HoldfastError {
  override readonly code = 'login-cancelled';
}

/** The authorization server, or its user, refused the login (RFC 6749 section 4.1.2.1). */
export class LoginDeniedError extends HoldfastError {
  override readonly code = 'login-denied';
}

/** The login was not finished in the browser in time. */
export class LoginTimeoutError extends HoldfastError {
  override readonly code = 'login-timeout';
  override readonly retryable = true;
}

/** The redirect did not belong to this login: wrong `state`, wrong `iss`, no `code` (RFC 9700 section 4). */
export class CallbackRejectedError extends HoldfastError {
  override readonly code = 'callback-rejected';
}

/** The hand-over blob was not sealed for any code that this machine has made and still stores. */
export class HandoverWrongKeyError extends HoldfastError {
  override readonly code = 'handover-wrong-key';
}

/** The hand-over blob was opened before; its key was destroyed then. */
export class HandoverOpenedError extends HoldfastError {
  override readonly code = 'handover-opened';
}

/** The hand-over blob, or the code that it was sealed for, has expired. */
export class HandoverExpiredError extends HoldfastError {
  override readonly code = 'handover-expired';
}

/** The hand-over blob was truncated or altered, or is not a blob. */
export class HandoverDamagedError extends HoldfastError {
  override readonly code = 'handover-damaged';
}

/** The hand-over blob contains a login to another server, or for another account, than expected. */
export class HandoverMismatchError extends HoldfastError {
  override readonly code = 'handover-mismatch';
}

/** A newer Holdfast made the hand-over blob. */
export class HandoverNewerError extends HoldfastError {
  override readonly code = 'handover-newer';
}

/** The keyring does not exist here. */
export class KeyringAbsentError extends HoldfastError {
  override readonly code = 'keyring-absent';
}

/** The keyring exists, but a person must unlock it first. */
export class KeyringLockedError extends HoldfastError {
  override readonly code = 'keyring-locked';
}

/** The keyring exists but refuses this program. */
export class KeyringDeniedError extends HoldfastError {
  override readonly code = 'keyring-denied';
}

/** The keyring exists but does not work: it hangs, returns invalid answers, or its data is damaged. */
export class KeyringBrokenError extends HoldfastError {
  override readonly code = 'keyring-broken';
}

/** The credential is sealed under a key that no reachable keyring holds. */
export class KeyUnavailableError extends HoldfastError {
  override readonly code = 'key-unavailable';
}

/** The request failed below HTTP, or the server said that it cannot answer now (5xx, 429). */
export class NetworkError extends HoldfastError {
  override readonly code = 'network';
  override readonly retryable = true;
  /** Whether the request provably never left this machine, so that sending it again is not a repetition. */
  readonly unsent: boolean;
  /** The server's `Retry-After`, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** How long the server may still process the request, in milliseconds; 0 if it has answered or never received it. */
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

/** The server did not answer in time; it may still process the request. */
export class TimeoutError extends HoldfastError {
  override readonly code = 'timeout';
  override readonly retryable = true;
}

/** The last refreshes yielded no usable token, so the server gets no request for a while. */
export class RefreshLimitedError extends HoldfastError {
  override readonly code = 'refresh-limited';
  override readonly retryable = true;
}

/** The URL must not be opened or requested: wrong scheme, plain http to another host, credentials in it. */
export class UnsafeUrlError extends HoldfastError {
  override readonly code = 'unsafe-url';
}

/** The response was larger than anything that this protocol needs; reading stopped there. */
export class ResponseTooLargeError extends HoldfastError {
  override readonly code = 'response-too-large';
}

/** The response violates the standard. */
export class InvalidResponseError extends HoldfastError {
  override readonly code = 'invalid-response';
}

/** The server at that URL does not support MCP authorization. */
export class NotAnMcpServerError extends HoldfastError {
  override readonly code = 'not-an-mcp-server';
}

/** The authorization server's issuer differs from the URL of its metadata (RFC 8414 section 3.3). */
export class IssuerMismatchError extends HoldfastError {
  override readonly code = 'issuer-mismatch';
}

/** The authorization server lacks a feature that a safe login needs. */
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

/** The record fails authentication: it was altered, truncated, or copied from elsewhere. */
export class RecordDamagedError extends HoldfastError {
  override readonly code = 'record-damaged';
}

/** A newer Holdfast wrote the record; this one does not change it. */
export class RecordNewerError extends HoldfastError {
  override readonly code = 'record-newer';
}

/** Other users can read or replace a file or directory: a symlink, a foreign owner, loose modes. */
export class StorageUnsafeError extends HoldfastError {
  override readonly code = 'storage-unsafe';
}

/** Holdfast's file or directory exists and cannot be read: no permission, an I/O error. */
export class StorageUnreadableError extends HoldfastError {
  override readonly code = 'storage-unreadable';
}

/** The directory for credentials cannot be written: read-only, no permission, no such directory. */
export class StorageUnwritableError extends HoldfastError {
  override readonly code = 'storage-unwritable';
}

/** The disk that stores credentials has no space or quota left. */
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

/** The engine that stores the records does not answer, at least not now. */
export class StoreUnreachableError extends HoldfastError {
  override readonly code = 'store-unreachable';
  override readonly retryable = true;
}

/** The engine that stores the records refuses our identity or the operation. */
export class StoreDeniedError extends HoldfastError {
  override readonly code = 'store-denied';
}

/** The engine cannot store records in its present state: wrong schema, a read-only replica, no durability. */
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

/** Every class of error, each with its own `code`. */
export type AnyHoldfastError =
  | InvalidArgumentError
  | LoginRequiredError
  | InsufficientScopeError
  | TokenRenewedError
  | LoginCancelledError
  | LoginDeniedError
  | LoginTimeoutError
  | CallbackRejectedError
  | HandoverWrongKeyError
  | HandoverOpenedError
  | HandoverExpiredError
  | HandoverDamagedError
  | HandoverMismatchError
  | HandoverNewerError
  | KeyringAbsentError
  | KeyringLockedError
  | KeyringDeniedError
  | KeyringBrokenError
  | KeyUnavailableError
  | NetworkError
  | TimeoutError
  | RefreshLimitedError
  | UnsafeUrlError
  | ResponseTooLargeError
  | InvalidResponseError
  | NotAnMcpServerError
  | IssuerMismatchError
  | ServerUnsupportedError
  | OAuthError
  | RecordDamagedError
  | RecordNewerError
  | StorageUnsafeError
  | StorageUnreadableError
  | StorageUnwritableError
  | StorageFullError
  | LockTimeoutError
  | LockUnsupportedError
  | LeaseLostError
  | StoreUnreachableError
  | StoreDeniedError
  | StoreUnsuitableError
  | VaultClosedError
  | AbortedError;

/** The stable codes. */
export type HoldfastErrorCode = AnyHoldfastError['code'];
