import { type ClientRequest, type IncomingMessage, request as overHttp } from 'node:http';
import { request as overTls } from 'node:https';
import type { Socket } from 'node:net';
import { promisify } from 'node:util';
import { brotliDecompress, unzip } from 'node:zlib';
import type { Reach } from '../credential.ts';
import {
  AbortedError,
  HoldfastError,
  InvalidResponseError,
  NetworkError,
  ResponseTooLargeError,
  TimeoutError,
  UnsafeUrlError,
} from '../errors.ts';
import { quote } from '../quote.ts';
import { step } from '../system/steps.ts';
import { VERSION } from '../version.ts';
import { classify } from './addresses.ts';
import { checkHost, codeOf, isAboutCertificate, openSocket } from './connection.ts';
import { checkUrl, isRedirect, redirectTarget } from './safe-url.ts';
import { openTunnel, type Proxy, proxyFor } from './tunnel.ts';

/*
 * Every request of the protocol goes through here. What answers is hostile until proven otherwise: bounded in size and
 * in time, the time of the body included, and a redirect is looked at before it is followed.
 *
 * On node:http and not on fetch. It tells whether a request was on its way when it failed, which decides whether a refresh
 * token may be presented again; it decompresses nothing by itself; and no answer makes it throw where nobody can catch.
 */

export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
  /** Until the last byte of the body, redirects included, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /**
   * How far the request may go, each redirect included: judged by the address that is connected to. Default `anywhere`.
   * Through a proxy only a host that is itself an address can be judged: it is the proxy that looks names up.
   */
  readonly reach?: Reach | undefined;
  /** Sent to that origin only: not after a redirect that leads elsewhere. */
  readonly ownHeaders?: OwnHeaders | undefined;
  /** Called when the connection stands, right before the first byte of each request. What it throws keeps that from leaving. */
  readonly beforeSend?: (() => void) | undefined;
}

/** Headers that are meant for one server. */
export interface OwnHeaders {
  /** RFC 6454 section 6.2, such as `https://mcp.example.com`. */
  readonly origin: string;
  readonly headers: Readonly<Record<string, string>>;
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
  /** The narrowest reach that holds the address that answered; absent where a proxy was asked. */
  readonly reached: Reach | undefined;
}

/** Metadata documents and token responses have a few kilobytes. */
export const MAX_RESPONSE_BYTES = 1024 * 1024;

const MAX_HEADER_BYTES = 16 * 1024;
const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_REDIRECTS = 3;
const LONGEST_RETRY_AFTER_MS = 3_600_000;

/**
 * Sends one request, through the proxy that the environment names, if any. A GET follows up to three redirects, each checked
 * like the first URL; a POST follows none.
 *
 * @throws UnsafeUrlError for a URL, or a redirect, that is neither https nor http to this machine, or beyond the reach;
 *   nothing was sent there
 * @throws NetworkError, with `unsent` where the request provably never left
 * @throws TimeoutError, ResponseTooLargeError, InvalidResponseError for what is not HTTP; AbortedError for the caller's signal
 * @throws InvalidArgumentError when the environment's proxy variable holds no http or https proxy
 */
export async function send(url: string | URL, request: Request): Promise<HttpResponse> {
  const ended = new AbortController();
  const timer = setTimeout(() => ended.abort('time'), request.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const giveUp = () => ended.abort('caller');
  request.signal?.addEventListener('abort', giveUp, { once: true });
  if (request.signal?.aborted) giveUp();
  try {
    let target = checkUrl(url);
    for (let redirects = 0; ; redirects += 1) {
      const response = await exchange(target, request, ended.signal);
      const next = request.method === 'GET' ? redirectTarget(response, target) : undefined;
      if (next === undefined) return response;
      if (redirects === MAX_REDIRECTS) {
        throw new UnsafeUrlError(`${quote(String(url))} redirects more than ${MAX_REDIRECTS} times.`);
      }
      target = next;
    }
  } finally {
    clearTimeout(timer);
    request.signal?.removeEventListener('abort', giveUp);
  }
}

/** What `Retry-After` asks for, in milliseconds (RFC 9110 section 10.2.3): seconds or a date; an hour at most. */
export function retryAfterMs(headers: Headers): number | undefined {
  const value = headers.get('retry-after')?.trim() ?? '';
  const seconds = /^\d{1,9}$/.test(value);
  // Date.parse takes nearly anything for a date; an HTTP date begins with a day and ends in GMT.
  if (!seconds && !/^[A-Z][a-z]+,? .* GMT$/.test(value)) return undefined;
  const ms = seconds ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), LONGEST_RETRY_AFTER_MS);
}

/** One request and its answer. `ended` closes the connection, whatever state it is in. */
async function exchange(url: URL, request: Request, ended: AbortSignal): Promise<HttpResponse> {
  const { reach = 'anywhere' } = request;
  let outgoing: ClientRequest | undefined;
  let tunnel: Socket | undefined;
  let proxy: Proxy | undefined;
  let connected = false;
  const close = () => {
    outgoing?.destroy();
    tunnel?.destroy();
  };
  try {
    checkHost(url, reach);
    proxy = await proxyFor(url);
    ended.throwIfAborted();
    if (proxy !== undefined) tunnel = await openTunnel(proxy, url, ended);
    ended.throwIfAborted();
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const start = url.protocol === 'https:' ? overTls : overHttp;
      outgoing = start(url, {
        method: request.method,
        maxHeaderSize: MAX_HEADER_BYTES,
        headers: {
          ...(request.ownHeaders?.origin === url.origin && request.ownHeaders.headers),
          ...request.headers,
          'user-agent': `holdfast/${VERSION}`,
          'accept-encoding': 'identity',
          connection: 'close',
        },
        createConnection: () => openSocket(url, reach, tunnel),
      });
      ended.addEventListener('abort', close, { once: true });
      outgoing
        .on('error', reject)
        .on('response', resolve)
        .on('close', () => reject(new Error('The connection was closed.')))
        .on('finish', () => step('request-sent'))
        .on('socket', (socket) =>
          socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => {
            // Nothing is written until here, so that what is refused now has provably not been sent.
            try {
              request.beforeSend?.();
            } catch (error) {
              reject(error);
              return;
            }
            connected = true;
            outgoing?.end(request.body);
          }),
        );
    });
    const { remoteAddress } = answer.socket;
    const reached =
      proxy === undefined && remoteAddress !== undefined ? classify(remoteAddress).reach : undefined;
    const headers = headersOf(answer);
    const status = answer.statusCode ?? 0;
    const wanted = request.headersOnly !== true && !(request.method === 'GET' && isRedirect(status));
    const body = wanted ? await decoded(await readBody(answer, url), headers, url) : new Uint8Array();
    step('response-received');
    return { status, headers, url: url.href, body, reached };
  } catch (error) {
    throw failure(error, { url, request, ended, connected, proxy });
  } finally {
    ended.removeEventListener('abort', close);
    close();
  }
}

function headersOf({ rawHeaders }: IncomingMessage): Headers {
  const headers = new Headers();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    try {
      headers.append(rawHeaders[i] ?? '', rawHeaders[i + 1] ?? '');
    } catch {
      // No name or value that HTTP knows, so none that anything here looks for.
    }
  }
  return headers;
}

async function readBody(answer: IncomingMessage, url: URL): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > MAX_RESPONSE_BYTES) throw tooLarge(url);
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks, size));
}

const inflate = promisify(unzip);
const DECODERS = new Map([
  ['gzip', inflate],
  ['x-gzip', inflate],
  ['deflate', inflate],
  ['br', promisify(brotliDecompress)],
]);

/** Undoes the compression that some file servers apply although nobody asked for it. A bomb is cut off at the limit. */
async function decoded(
  body: Uint8Array<ArrayBuffer>,
  headers: Headers,
  url: URL,
): Promise<Uint8Array<ArrayBuffer>> {
  const coding = headers.get('content-encoding')?.trim().toLowerCase() ?? '';
  if (coding === '' || coding === 'identity' || body.byteLength === 0) return body;
  const decode = DECODERS.get(coding);
  if (decode === undefined) {
    throw new InvalidResponseError(`${quote(url.href)} answered in the unknown encoding ${quote(coding)}.`, {
      hint: 'Tell who runs the server.',
    });
  }
  try {
    return new Uint8Array(await decode(body, { maxOutputLength: MAX_RESPONSE_BYTES }));
  } catch (error) {
    if (codeOf(error) === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(url);
    throw new InvalidResponseError(`What ${quote(url.href)} answered cannot be decompressed.`, {
      hint: 'Tell who runs the server.',
    });
  }
}

function tooLarge(url: URL): ResponseTooLargeError {
  return new ResponseTooLargeError(
    `${quote(url.href)} answered with more than ${MAX_RESPONSE_BYTES / 1024} KiB; reading stopped there.`,
    { hint: 'No document of this protocol is that large. Check that the URL is the MCP server’s.' },
  );
}

function failure(
  error: unknown,
  at: { url: URL; request: Request; ended: AbortSignal; connected: boolean; proxy: Proxy | undefined },
): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const host =
    quote(at.url.host) + (at.proxy === undefined ? '' : ` through the proxy ${quote(at.proxy.url.host)}`);
  if (at.ended.reason === 'caller') {
    return new AbortedError(`The request to ${host} was ended by its caller.`);
  }
  if (at.ended.reason === 'time') {
    const limit = `within ${(at.request.timeoutMs ?? DEFAULT_TIMEOUT_MS) / 1000} s`;
    return at.connected
      ? new TimeoutError(`${host} did not finish its answer ${limit}.`, { hint: 'Try again in a moment.' })
      : new NetworkError(`${host} cannot be reached: no connection ${limit}.`, {
          unsent: true,
          hint: 'Check the address and the network connection, then try again.',
        });
  }
  const code = codeOf(error);
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
  const certificate = isAboutCertificate(code);
  const why = `${code === undefined ? '' : ` (${code})`}${certificate ? ': its certificate is not trusted here' : ''}`;
  return new NetworkError(
    at.connected
      ? `The connection to ${host} broke off before its answer was whole${why}.`
      : `${host} cannot be reached${why}.`,
    {
      cause: error,
      unsent: !at.connected,
      hint: certificate
        ? 'If your network has a certificate authority of its own: export NODE_EXTRA_CA_CERTS=/path/to/ca.pem'
        : 'Check the address and the network connection, then try again.',
    },
  );
}
