import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';

/* The interface to a key management service, and helpers that the URLs of all services share. */

/** The binding of a wrapped item: unwrapping it for another tenant or as another item fails. */
export interface Binding {
  readonly tenant: string;
  readonly item: string;
}

/**
 * A key management service that wraps small secrets under its own key.
 *
 * Failure protocol. No such key: `KeyringAbsentError`. Refused: `KeyringDeniedError`. Sealed until a person unseals it:
 * `KeyringLockedError`. Unreachable, or the wrapped item does not open: `KeyringBrokenError`. Each call ends within
 * seconds.
 */
export interface Kms {
  /** The service's name for messages. */
  readonly name: string;
  wrap(secret: Uint8Array, binding: Binding): Promise<Uint8Array>;
  unwrap(wrapped: Uint8Array, binding: Binding): Promise<Uint8Array>;
  close(): void;
}

/** Time limit for each call to a KMS, in milliseconds. */
export const KMS_TIMEOUT_MS = 10_000;

export const KMS_HINT =
  'Write vault+https://HOST:8200/transit/keys/NAME, awskms:///KEY-ARN?region=REGION, or gcpkms://projects/…/cryptoKeys/NAME.';

/**
 * Refuses unknown parameters of a URL, since a misspelt setting would otherwise go unnoticed.
 *
 * @throws InvalidArgumentError
 */
export function checkParameters(url: URL, known: readonly string[]): void {
  const unknown = [...url.searchParams.keys()].find((key) => ![...known, 'cache', 'outage'].includes(key));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`HOLDFAST_SEALING_KMS has the unknown parameter ${quote(unknown, 40)}.`, {
      hint: `Known here are: ${[...known, 'cache', 'outage'].join(', ')}.`,
    });
  }
}

/** Parses a custom address of a KMS: it must use TLS, or be on this machine. */
export function checkedEndpoint(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const here = url !== undefined && ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname);
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && here)) return url;
  throw invalid(`HOLDFAST_SEALING_KMS leads to ${quote(text)}, which is neither https nor this machine.`);
}

export function invalid(message: string): InvalidArgumentError {
  return new InvalidArgumentError(message, { hint: KMS_HINT });
}
