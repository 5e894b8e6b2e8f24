import { isLoopback } from '../credential.ts';
import {
  AbortedError,
  HoldfastError,
  NetworkError,
  ResponseTooLargeError,
  TimeoutError,
  UnsafeUrlError,
} from '../errors.ts';
import { quote } from '../quote.ts';
import { VERSION } from '../version.ts';

/*
 * Every request of the protocol goes through here. What answers is hostile until proven otherwise: bounded in size and
 * in time, the time of the body included, and a redirect is looked at before it is followed.
 */

export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
  /** Until the last byte of the body, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number | undefined;
}

export interface Request extends RequestOptions {
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: string | undefined;
  /** Answer as soon as the headers are there, and close the connection. */
  readonly headersOnly?: boolean | undefined;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Headers;
  /** Where the answer came from, after redirects. */
  readonly url: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Metadata documents and token responses have a few kilobytes. */
export const MAX_RESPONSE_BYTES = 1024 * 1024;

const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_REDIRECTS = 3;
const LONGEST_RETRY_AFTER_MS = 3_600_000;

/** Failures that come before the first byte of a request leaves (connection, name lookup, TLS handshake). */
const UNSENT =
  /^(ECONNREFUSED|ENOTFOUND|EAI_\w+|EHOSTUNREACH|ENETUNREACH|ENETDOWN|UND_ERR_CONNECT_TIMEOUT|EPROTO|ERR_SSL_\w+|ERR_TLS_\w+|CERT_\w+|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_\w+)$/;
const CERTIFICATE =
  /^(ERR_TLS_\w+|CERT_\w+|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_\w+)$/;

/**
 * Sends one request. A GET follows up to three redirects, each checked like the first URL; a POST follows none.
 *
 * @throws UnsafeUrlError for a URL, or a redirect, that is neither https nor http to this machine
 * @throws NetworkError, with `unsent` where the request provably never left
 * @throws TimeoutError, ResponseTooLargeError; AbortedError for the caller's signal
 */
export async function send(url: string | URL, request: Request): Promise<HttpResponse> {
  const timeout = AbortSignal.timeout(request.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const signal = request.signal ? AbortSignal.any([request.signal, timeout]) : timeout;
  let target = checkUrl(url);
  for (let redirects = 0; ; redirects += 1) {
    const failed = (error: unknown) => failure(error, target, request, timeout);
    let response: Response;
    try {
      response = await fetch(target, {
        method: request.method,
        redirect: 'manual',
        signal,
        headers: { 'user-agent': `holdfast/${VERSION}`, ...request.headers },
        ...(request.body === undefined ? {} : { body: request.body }),
      });
    } catch (error) {
      throw failed(error);
    }
    const next = request.method === 'GET' ? redirectOf(response, target) : undefined;
    if (next !== undefined) {
      await discard(response);
      if (redirects === MAX_REDIRECTS) {
        throw new UnsafeUrlError(`${quote(String(url))} redirects more than ${MAX_REDIRECTS} times.`);
      }
      if (target.protocol === 'https:' && next.protocol !== 'https:') {
        throw new UnsafeUrlError(
          `${quote(target.href)} redirects to ${quote(next.href)}, which is not https.`,
        );
      }
      target = checkUrl(next);
      continue;
    }
    const { status, headers } = response;
    if (request.headersOnly === true) {
      await discard(response);
      return { status, headers, url: target.href, body: new Uint8Array() };
    }
    try {
      return { status, headers, url: target.href, body: await readBody(response, target) };
    } catch (error) {
      throw failed(error);
    }
  }
}

/**
 * The URL, if a request to it may carry anything: https, or http to this machine by its very name.
 *
 * @throws UnsafeUrlError
 */
export function checkUrl(url: string | URL): URL {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new UnsafeUrlError(`${quote(String(url))} is not a URL.`);
  }
  if (parsed.protocol !== 'https:' && !(parsed.protocol === 'http:' && isLoopback(parsed))) {
    throw new UnsafeUrlError(`${quote(String(url))} is neither https nor http to this machine.`, {
      hint: 'The server’s metadata must name https URLs (RFC 9700); tell who runs it.',
    });
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw new UnsafeUrlError(`A URL at ${quote(parsed.host)} carries a user name or password.`);
  }
  return parsed;
}

/** What `Retry-After` asks for, in milliseconds (RFC 9110 section 10.2.3): seconds or a date; an hour at most. */
export function retryAfterMs(headers: Headers): number | undefined {
  const value = headers.get('retry-after');
  if (value === null) return undefined;
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), LONGEST_RETRY_AFTER_MS);
}

function redirectOf(response: Response, from: URL): URL | undefined {
  const location = response.headers.get('location');
  if (location === null || ![301, 302, 303, 307, 308].includes(response.status)) return undefined;
  try {
    return new URL(location, from);
  } catch {
    throw new UnsafeUrlError(`${quote(from.href)} redirects to ${quote(location)}, which is not a URL.`);
  }
}

async function readBody(response: Response, url: URL): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  if (response.body !== null) {
    // What is counted here is decompressed already: a small bomb does not get past.
    for await (const chunk of response.body) {
      size += chunk.byteLength;
      if (size > MAX_RESPONSE_BYTES) {
        throw new ResponseTooLargeError(
          `${quote(url.href)} answered with more than ${MAX_RESPONSE_BYTES / 1024} KiB; reading stopped there.`,
          { hint: 'No document of this protocol is that large. Check that the URL is the MCP server’s.' },
        );
      }
      chunks.push(chunk);
    }
  }
  const body = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    body.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return body;
}

async function discard(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => {
    // The connection is gone, which is what was wanted.
  });
}

function failure(error: unknown, url: URL, request: Request, timeout: AbortSignal): HoldfastError {
  if (error instanceof HoldfastError) return error;
  if (request.signal?.aborted) {
    return new AbortedError(`The request to ${quote(url.host)} was ended by its caller.`, { cause: error });
  }
  if (timeout.aborted) {
    const seconds = (request.timeoutMs ?? DEFAULT_TIMEOUT_MS) / 1000;
    return new TimeoutError(`${quote(url.host)} did not finish its answer within ${seconds} s.`, {
      cause: error,
      hint: 'Try again in a moment.',
    });
  }
  const code = codeOf(error);
  const certificate = code !== undefined && CERTIFICATE.test(code);
  return new NetworkError(
    `${quote(url.host)} cannot be reached${code === undefined ? '' : ` (${code})`}${certificate ? ': its certificate is not trusted here' : ''}.`,
    {
      cause: error,
      unsent: code !== undefined && UNSENT.test(code),
      hint: certificate
        ? 'If your network has a certificate authority of its own: export NODE_EXTRA_CA_CERTS=/path/to/ca.pem'
        : 'Check the address and the network connection, then try again.',
    },
  );
}

function codeOf(error: unknown): string | undefined {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth += 1) {
    if ('code' in cause && typeof cause.code === 'string') return cause.code;
  }
  return undefined;
}
