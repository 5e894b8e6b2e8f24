import type { Agent, IncomingMessage } from 'node:http';
import type { Reach } from '../credential.ts';
import {
  AbortedError,
  type HoldfastError,
  ResponseTooLargeError,
  TimeoutError,
  UnsafeUrlError,
} from '../errors.ts';
import { quote } from '../quote.ts';
import { step } from '../system/checkpoints.ts';
import type { Environment } from '../system/environment.ts';
import { VERSION } from '../version.ts';
import { classify } from './addresses.ts';
import { decoded, whole } from './body.ts';
import { connect } from './connection.ts';
import { agentOver, type Fence, Flight, headersOf } from './exchange.ts';
import { networkFailure, noConnection, type Progress, shownHost } from './failure.ts';
import { headersFor, type OwnHeaders } from './own-headers.ts';
import { checkUrl, isRedirect, redirectTarget } from './safe-url.ts';
import { type Proxy, proxyFor } from './tunnel.ts';

/*
 * Requests with one complete answer, for all of OAuth. Every server counts as hostile: size and time are limited,
 * including the time of the body, and each redirect is checked before it is followed.
 */

export interface RequestOptions extends Fence {
  readonly signal?: AbortSignal | undefined;
  /** Time limit until the last byte of the body, redirects included, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /**
   * How far the request and each redirect may go, judged by the address of the connection. Default `anywhere`. Through
   * a proxy, only a host that is itself an address can be judged, since the proxy looks names up.
   */
  readonly reach?: Reach | undefined;
  /** Sent to their origin only, and dropped when a redirect leads elsewhere. */
  readonly ownHeaders?: OwnHeaders | undefined;
  /** Its variables name the proxy. Default: this process's environment. */
  readonly environment?: Environment | undefined;
}

export interface Request extends RequestOptions {
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: string | undefined;
  /** Return as soon as the headers arrive, and close the connection. */
  readonly headersOnly?: boolean | undefined;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Headers;
  /** The URL of the answer, after redirects. */
  readonly url: string;
  readonly body: Uint8Array<ArrayBuffer>;
  /** The narrowest reach that includes the answering address; absent through a proxy. */
  readonly reached: Reach | undefined;
}

/** Whether the status is 2xx (RFC 9110 section 15.3). */
export function isSuccess({ status }: Pick<HttpResponse, 'status'>): boolean {
  return status >= 200 && status < 300;
}

/** Maximum size of a body in bytes. Metadata documents and token responses have a few kilobytes. */
export const MAX_RESPONSE_BYTES = 1024 * 1024;

const MAX_HEADER_BYTES = 16 * 1024;
const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_REDIRECTS = 3;
const LONGEST_RETRY_AFTER_MS = 3_600_000;

/**
 * Sends one request, through the proxy of the environment if there is one. A GET follows up to three redirects, each
 * checked like the first URL; a POST follows none.
 *
 * @throws UnsafeUrlError for a URL or redirect that is neither https nor http to this machine, or beyond the reach;
 *   nothing was sent there
 * @throws NetworkError, with `unsent` when the request provably was not sent
 * @throws TimeoutError, ResponseTooLargeError; InvalidResponseError when the answer is not HTTP; AbortedError for the
 *   caller's signal
 * @throws InvalidArgumentError when the environment's proxy variable is not an http or https proxy
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

/** The delay in `Retry-After`, in milliseconds (RFC 9110 section 10.2.3): from seconds or a date; at most an hour. */
export function retryAfterMs(headers: Headers): number | undefined {
  const value = headers.get('retry-after')?.trim() ?? '';
  const seconds = /^\d{1,9}$/.test(value);
  // Date.parse accepts nearly any text. An HTTP date begins with a day and ends in GMT.
  if (!seconds && !/^[A-Z][a-z]+,? .* GMT$/.test(value)) return undefined;
  const ms = seconds ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), LONGEST_RETRY_AFTER_MS);
}

/** Sends one request and reads its answer. `ended` closes the connection in any state. */
async function exchange(url: URL, request: Request, ended: AbortSignal): Promise<HttpResponse> {
  const { reach = 'anywhere', ownHeaders, body, onConnected, beforeSend, afterSend } = request;
  let agent: Agent | undefined;
  let flight: Flight | undefined;
  let proxy: Proxy | undefined;
  const close = () => {
    flight?.outgoing.destroy();
    agent?.destroy();
  };
  ended.addEventListener('abort', close, { once: true });
  try {
    proxy = proxyFor(url, request.environment);
    const connecting = { reach, proxy, signal: ended };
    agent = agentOver(url, {}, async () => {
      const socket = await connect(url, connecting);
      try {
        await onConnected?.();
      } catch (error) {
        socket.destroy();
        throw error;
      }
      return socket;
    });
    flight = new Flight(url, {
      method: request.method,
      headers: headersFor(url, ownHeaders, {
        ...request.headers,
        'user-agent': `holdfast/${VERSION}`,
        connection: 'close',
      }),
      body,
      agent,
      maxHeaderBytes: MAX_HEADER_BYTES,
      beforeSend,
      afterSend,
    });
    const answer = await flight.answer;
    const { remoteAddress } = answer.socket;
    const reached =
      proxy === undefined && remoteAddress !== undefined ? classify(remoteAddress).reach : undefined;
    const status = answer.statusCode ?? 0;
    const wanted = request.headersOnly !== true && !(request.method === 'GET' && isRedirect(status));
    const bytes = wanted ? await bodyOf(answer, url) : new Uint8Array();
    step('response-received');
    return { status, headers: headersOf(answer), url: url.href, body: bytes, reached };
  } catch (error) {
    throw failure(error, {
      host: shownHost(url, proxy),
      connected: flight?.connected ?? false,
      answered: flight?.answered ?? false,
      sentMsAgo: flight?.sentMsAgo ?? 0,
      limitMs: request.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      ended,
    });
  } finally {
    ended.removeEventListener('abort', close);
    close();
  }
}

async function bodyOf(answer: IncomingMessage, url: URL): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = () =>
    new ResponseTooLargeError(
      `${quote(url.href)} answered with more than ${MAX_RESPONSE_BYTES / 1024} KiB; reading stopped there.`,
      { hint: 'No document of this protocol is that large. Check that the URL is the MCP server’s.' },
    );
  return new Uint8Array(await whole(decoded(answer, quote(url.href)), MAX_RESPONSE_BYTES, tooLarge));
}

function failure(
  error: unknown,
  at: Progress & { readonly limitMs: number; readonly ended: AbortSignal },
): HoldfastError {
  const { host, connected, limitMs, ended } = at;
  if (ended.reason === 'caller') return new AbortedError(`The request to ${host} was ended by its caller.`);
  if (ended.reason === 'time') {
    return connected
      ? new TimeoutError(`${host} did not finish its answer within ${limitMs / 1000} s.`, {
          hint: 'Try again in a moment.',
        })
      : noConnection(host, limitMs);
  }
  return networkFailure(error, at);
}
