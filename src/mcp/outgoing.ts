import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';
import type { Fetch } from './options.ts';

/*
 * A caller's request in a form that can be sent more than once. It follows redirects as a token's holder must: within
 * one origin, one hop at a time.
 */

type Input = Parameters<Fetch>[0];
type Init = NonNullable<Parameters<Fetch>[1]>;

export interface Outgoing {
  readonly url: URL;
  readonly method: string;
  readonly init: Init;
  /** Whether the body can be sent a second time. */
  readonly repeatable: boolean;
}

/** Maximum number of redirects, the same as in the MCP SDKs. A server that needs more has a redirect loop. */
const MOST_REDIRECTS = 5;

const REDIRECTS = [301, 302, 303, 307, 308];

/** Headers that describe a body and are dropped with it (Fetch standard, "HTTP-redirect fetch"). */
const BODY_HEADERS = [
  'content-encoding',
  'content-language',
  'content-location',
  'content-type',
  'content-length',
];

/**
 * Prepares a request for sending.
 *
 * @throws InvalidArgumentError when the URL is not absolute
 */
export async function outgoing(input: Input, init: Init = {}): Promise<Outgoing> {
  const request = typeof input === 'string' || input instanceof URL ? undefined : input;
  const text = typeof input === 'string' ? input : input instanceof URL ? input.href : input.url;
  if (!URL.canParse(text)) {
    throw new InvalidArgumentError(`${quote(text)} is not a URL.`, {
      hint: 'Give the whole URL of the request, such as https://mcp.example.com/mcp',
    });
  }
  const all: Init = request === undefined ? init : { ...(await partsOf(request, init)), ...init };
  // `fetch` itself does not capitalize `patch`, and servers expect PATCH.
  const method = (all.method ?? 'GET').toUpperCase();
  return {
    url: new URL(text),
    method,
    init: { ...all, method },
    repeatable: isRepeatable(all.body),
  };
}

/** Reads the body into memory, so that it can be sent again. */
async function partsOf(request: Request, { body }: Init): Promise<Init> {
  const { method, headers, signal, redirect, integrity, keepalive } = request;
  const parts: Init = { method, headers, signal, redirect, integrity, keepalive };
  return request.body === null || body != null ? parts : { ...parts, body: await request.arrayBuffer() };
}

function isRepeatable(body: Init['body']): boolean {
  return (
    body == null ||
    typeof body === 'string' ||
    body instanceof URLSearchParams ||
    body instanceof FormData ||
    body instanceof Blob ||
    body instanceof ArrayBuffer ||
    ArrayBuffer.isView(body)
  );
}

/**
 * Sends a request and follows redirects within its origin, as the Fetch standard says. Any other redirect is the
 * answer, since `send` adds a token that must not go to another origin.
 *
 * @param send sends one request and follows no redirect
 */
export async function followWithinOrigin(
  request: Outgoing,
  send: (request: Outgoing) => Promise<Response>,
): Promise<Response> {
  if ((request.init.redirect ?? 'follow') !== 'follow') return send(request);
  let current: Outgoing = { ...request, init: { ...request.init, redirect: 'manual' } };
  for (let hops = 0; ; hops += 1) {
    const response = await send(current);
    const next = hops < MOST_REDIRECTS ? redirected(current, response) : undefined;
    if (next === undefined) return response;
    await response.body?.cancel();
    current = next;
  }
}

function redirected(request: Outgoing, response: Response): Outgoing | undefined {
  const location = REDIRECTS.includes(response.status) ? response.headers.get('location') : null;
  if (location === null || !URL.canParse(location, request.url.href)) return undefined;
  const url = new URL(location, request.url);
  if (url.origin !== request.url.origin || url.username !== '' || url.password !== '') return undefined;
  const { method } = request;
  const becomesGet =
    (response.status === 303 && method !== 'GET' && method !== 'HEAD') ||
    ((response.status === 301 || response.status === 302) && method === 'POST');
  if (!becomesGet) return request.repeatable ? { ...request, url } : undefined;
  const { body: _body, ...init } = request.init;
  const headers = new Headers(init.headers);
  for (const name of BODY_HEADERS) headers.delete(name);
  return { url, method: 'GET', init: { ...init, method: 'GET', headers }, repeatable: true };
}
