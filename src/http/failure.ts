import { HoldfastError, InvalidResponseError, NetworkError, ResponseTooLargeError } from '../errors.ts';
import { quote } from '../quote.ts';
import { processEnvironment } from '../system/environment.ts';
import { systemErrorCode } from '../system/files/storage-error.ts';

/* Turns errors from below HTTP into Holdfast's own, by Node's error code and by the progress of the request. */

/** The progress of a request. */
export interface Progress {
  /** The server as messages name it: `shownHost`. */
  readonly host: string;
  /** Whether the first byte may have been sent. */
  readonly connected: boolean;
  /** Whether the head of the answer has arrived. */
  readonly answered: boolean;
  /** Time since the first byte may have been sent, in milliseconds. */
  readonly sentMsAgo: number;
}

/** After this time, in milliseconds, a broken connection was probably cut by an intermediary. The server may go on. */
const GIVEN_UP_AFTER_MS = 5_000;

/** Time that a server may still process the request, in milliseconds: after a cut, and after an immediate break. */
const IN_DOUBT_MS = 60_000;
const IN_DOUBT_AT_ONCE_MS = 3_000;

/** The server's name for messages, with the proxy that leads to it. */
export function shownHost(url: URL, proxy?: { readonly url: URL }): string {
  return quote(url.host) + (proxy === undefined ? '' : ` through the proxy ${quote(proxy.url.host)}`);
}

/** Maps an error of Node; a HoldfastError passes through. `unsent` in the result says that a retry repeats nothing. */
export function networkFailure(
  error: unknown,
  { host, connected, answered, sentMsAgo }: Progress,
): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = systemErrorCode(error);
  if (code !== undefined && /^HPE_\w*OVERFLOW$/.test(code)) {
    return new ResponseTooLargeError(`${host} answered with endless headers; reading stopped.`, {
      cause: error,
      hint: 'Check that the URL is the MCP server’s.',
    });
  }
  if (code?.startsWith('HPE_')) {
    return new InvalidResponseError(`What ${host} answered is not HTTP (${code}).`, {
      cause: error,
      hint: 'Check the address, the port included.',
    });
  }
  return new NetworkError(
    connected
      ? `The connection to ${host} broke off before ${answered ? 'its answer was whole' : 'an answer came'}${whyOf(error)}.`
      : `${host} cannot be reached${whyOf(error)}.`,
    {
      cause: error,
      unsent: !connected,
      inDoubtMs: connected && !answered ? doubtMs(sentMsAgo) : 0,
      hint: certificateHint(error) ?? 'Check the address and the network connection, then try again.',
    },
  );
}

function doubtMs(sentMsAgo: number): number {
  return sentMsAgo >= GIVEN_UP_AFTER_MS ? IN_DOUBT_MS : IN_DOUBT_AT_ONCE_MS;
}

/** The error for a connection that did not open in time, so nothing was sent. */
export function noConnection(host: string, limitMs: number): NetworkError {
  return new NetworkError(`${host} cannot be reached: no connection within ${limitMs / 1000} s.`, {
    unsent: true,
    hint: 'Check the address and the network connection, then try again.',
  });
}

/** The code, such as ` (ECONNREFUSED)`, for the end of a sentence. */
export function whyOf(error: unknown): string {
  const code = systemErrorCode(error);
  if (code === undefined) return '';
  return ` (${code})${CERTIFICATE.test(code) ? ': its certificate is not trusted here' : ''}`;
}

/** The fix for an untrusted certificate of the peer; `undefined` for any other failure. */
export function certificateHint(error: unknown): string | undefined {
  if (!CERTIFICATE.test(systemErrorCode(error) ?? '')) return undefined;
  const ignored =
    processEnvironment().variables['NODE_TLS_REJECT_UNAUTHORIZED'] === '0'
      ? 'Holdfast checks certificates even with NODE_TLS_REJECT_UNAUTHORIZED=0. '
      : '';
  return `${ignored}If your network has a certificate authority of its own: export NODE_EXTRA_CA_CERTS=/path/to/ca.pem`;
}

const CERTIFICATE =
  /^(ERR_TLS_CERT_\w+|CERT_\w+|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_\w+)$/;
