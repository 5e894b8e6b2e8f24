import { InvalidResponseError } from '../../errors.ts';
import type { HttpResponse } from '../../http/fetch.ts';
import { quote } from '../../quote.ts';
import { type Incoming, isObject } from '../relay/message.ts';

/* The common part of the transports: their interface, and how they read and wait. */

export interface SendOptions {
  readonly signal: AbortSignal;
  /** Whether the user may be asked to log in for this message. */
  readonly person: boolean;
  /** Resolves when every request of the message has its response, over any stream. */
  readonly answered: Promise<void>;
  readonly isAnswered: () => boolean;
}

/** The connection to the server. Messages from the server go to the `Deliver` of its constructor. */
export interface ServerTransport {
  /**
   * Sends a message. For notifications and responses it resolves when the server has accepted the message. For requests
   * it resolves when no more answers will come.
   *
   * @throws HttpFailure if the status is not a success; the errors of `Send`
   */
  send(incoming: Incoming, options: SendOptions): Promise<void>;
  /** Ends the session, within `limitMs` milliseconds. */
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

/** The server answered with a status that is not a success. */
export class HttpFailure extends Error {
  readonly status: number;
  /** As the server sent it, truncated. */
  readonly body: string;
  /** The JSON-RPC error in the body, if there is one. */
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

/** A shorter stream counts as a failure, so that the next one is delayed. In milliseconds. */
export const STABLE_STREAM_MS = 5_000;

/** Maximum wait that a server can ask for, in milliseconds. */
const LONGEST_RETRY_MS = 3_600_000;

/**
 * The wait before the next try, in milliseconds: 1 s at first, 30 s at most, with jitter. A server can lengthen it,
 * never shorten it.
 *
 * @param retryMs the server's wish: `retry` of an event stream
 */
export function backOffMs(failures: number, retryMs = 0): number {
  const own = Math.min(30_000, 1_000 * 1.5 ** Math.max(0, failures - 1)) * (1 + 0.4 * Math.random());
  return Math.max(own, Math.min(retryMs, LONGEST_RETRY_MS));
}
