import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';

/*
 * What is asked of a key management service, and what the URLs that name one have in common.
 */

/** What a wrapped item is bound to: unwrapping it for another tenant, or as another item, fails. */
export interface Binding {
  readonly tenant: string;
  readonly item: string;
}

/**
 * A key management service that wraps small secrets under a key of its own.
 *
 * Failure protocol: no such key, `KeyringAbsentError`; refused, `KeyringDeniedError`; sealed, until a person opens it,
 * `KeyringLockedError`; unreachable, or what was wrapped does not open, `KeyringBrokenError`. Each call ends within seconds.
 */
export interface Kms {
  /** How messages call it. */
  readonly name: string;
  wrap(secret: Uint8Array, binding: Binding): Promise<Uint8Array>;
  unwrap(wrapped: Uint8Array, binding: Binding): Promise<Uint8Array>;
  close(): void;
}

/** Each call to a KMS, in milliseconds. */
export const KMS_TIMEOUT_MS = 10_000;

export const KMS_HINT =
  'Write vault+https://HOST:8200/transit/keys/NAME, awskms:///KEY-ARN?region=REGION, or gcpkms://projects/…/cryptoKeys/NAME.';

/**
 * Refuses what a URL says and nobody reads: a misspelt setting would go unnoticed.
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

/** Where a KMS is asked that has been given another address than its usual one: over TLS, or on this machine. */
export function checkedEndpoint(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const here = url !== undefined && ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname);
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && here)) return url;
  throw invalid(`HOLDFAST_SEALING_KMS leads to ${quote(text)}, which is neither https nor this machine.`);
}

export function invalid(message: string): InvalidArgumentError {
  return new InvalidArgumentError(message, { hint: KMS_HINT });
}
