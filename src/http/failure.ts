import { HoldfastError, InvalidResponseError, NetworkError, ResponseTooLargeError } from '../errors.ts';
import { quote } from '../quote.ts';
import { processEnvironment } from '../system/environment.ts';
import { systemErrorCode } from '../system/files/storage-error.ts';

/* What went wrong below HTTP, as an error of ours: by the code that Node gives, and by how far the request had come. */

/** How far a request had come. */
export interface Progress {
  /** The server, as messages name it: `shownHost`. */
  readonly host: string;
  /** Whether its first byte may have left. */
  readonly connected: boolean;
  /** Whether the head of the answer has come. */
  readonly answered: boolean;
  /** How long ago the first byte may have left, in milliseconds. */
  readonly sentMsAgo: number;
}

/** A connection that breaks after this time, in milliseconds, was given up by somebody in between: the server may go on. */
const GIVEN_UP_AFTER_MS = 5_000;

/** How long such a server may still process the request, and one whose connection broke at once, in milliseconds. */
const IN_DOUBT_MS = 60_000;
const IN_DOUBT_AT_ONCE_MS = 3_000;

/** How messages name the server that was asked, and the proxy that was asked for it. */
export function shownHost(url: URL, proxy?: { readonly url: URL }): string {
  return quote(url.host) + (proxy === undefined ? '' : ` through the proxy ${quote(proxy.url.host)}`);
}

/** The error for what Node threw; an error of ours passes through. Its `unsent` says whether to send again repeats nothing. */
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

/** No connection came about in time, so nothing was sent. */
export function noConnection(host: string, limitMs: number): NetworkError {
  return new NetworkError(`${host} cannot be reached: no connection within ${limitMs / 1000} s.`, {
    unsent: true,
    hint: 'Check the address and the network connection, then try again.',
  });
}

/** Such as ` (ECONNREFUSED)`, for the end of a sentence. */
export function whyOf(error: unknown): string {
  const code = systemErrorCode(error);
  if (code === undefined) return '';
  return ` (${code})${CERTIFICATE.test(code) ? ': its certificate is not trusted here' : ''}`;
}

/** What to do where the other side's certificate is not trusted; `undefined` for any other failure. */
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
