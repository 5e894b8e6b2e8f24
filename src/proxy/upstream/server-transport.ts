import { InvalidResponseError } from '../../errors.ts';
import type { HttpResponse } from '../../http/fetch.ts';
import { quote } from '../../quote.ts';
import { type Incoming, isObject } from '../relay/message.ts';

/* What the transports have in common: how they are used, and how they read and wait. */

export interface SendOptions {
  readonly signal: AbortSignal;
  /** Whether somebody may be asked to log in for it. */
  readonly person: boolean;
  /** Resolves when every request of the message has its response, over whichever stream it came. */
  readonly answered: Promise<void>;
  readonly isAnswered: () => boolean;
}

/** The way to the server. What the server sends goes to the `Deliver` that it was made with. */
export interface ServerTransport {
  /**
   * Sends a message. For notifications and responses resolves when the server has taken it; for requests when nothing more will
   * come of it.
   *
   * @throws HttpFailure for an answer that is no success; what `Access` throws
   */
  send(incoming: Incoming, options: SendOptions): Promise<void>;
  /** Ends the session. Takes no longer than `limitMs`. */
  close(limitMs: number): Promise<void>;
}

export type Deliver = (incoming: Incoming) => void;

/** Sends one HTTP request with the login, if there is one. */
export type Send = (
  url: string,
  init: {
    method: 'POST' | 'GET' | 'DELETE';
    headers: Record<string, string>;
    body?: string;
    signal: AbortSignal;
  },
  person: boolean,
) => Promise<HttpResponse>;

/** The server answered with a status that is no success. */
export class HttpFailure extends Error {
  readonly status: number;
  /** As the server sent it, cut. */
  readonly body: string;
  /** The JSON-RPC error in it, if there is one. */
  readonly rpcError: Readonly<Record<string, unknown>> | undefined;

  constructor(host: string, { status, statusText }: { status: number; statusText: string }, body: string) {
    super(`${host} answered HTTP ${status} ${quote(statusText, 80).slice(1, -1)}`.trimEnd());
    this.status = status;
    this.body = body;
    this.rpcError = rpcErrorIn(body);
  }
}

function rpcErrorIn(body: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const parsed: unknown = JSON.parse(body);
    const error = isObject(parsed) ? parsed['error'] : undefined;
    const isError =
      isObject(error) && typeof error['code'] === 'number' && typeof error['message'] === 'string';
    return isError ? error : undefined;
  } catch {
    return undefined;
  }
}

const MOST_OF_AN_ERROR = 256 * 1024;

export async function httpFailure(response: HttpResponse): Promise<HttpFailure> {
  const body = await response.beginning(MOST_OF_AN_ERROR);
  return new HttpFailure(new URL(response.url).host, response, body);
}

/** `text/event-stream` of `text/event-stream; charset=utf-8`. */
export function mediaType(response: HttpResponse): string {
  return (response.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

export function notMcp(response: HttpResponse, what: string): InvalidResponseError {
  return new InvalidResponseError(`${quote(new URL(response.url).host)} ${what}.`, {
    hint: 'Check that the URL is the MCP server’s.',
  });
}

/** A stream that ended sooner than this counts as a failure, so that the next is not asked for at once. */
export const LASTING_MS = 5_000;

/** Whoever asks us to wait for longer than that, in milliseconds, is not heeded. */
const LONGEST_RETRY_MS = 3_600_000;

/**
 * How long to wait before the next try, in milliseconds: 1 s at first, 30 s at last, with jitter; longer where the server asks
 * for it, and never shorter.
 *
 * @param retryMs what the server asked for: `retry` of an event stream
 */
export function backOffMs(failures: number, retryMs = 0): number {
  const own = Math.min(30_000, 1_000 * 1.5 ** Math.max(0, failures - 1)) * (1 + 0.4 * Math.random());
  return Math.max(own, Math.min(retryMs, LONGEST_RETRY_MS));
}
