import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { InvalidArgumentError, LoginCancelledError, LoginTimeoutError } from '../errors.ts';
import { PAGE_HEADERS, type Page, renderPage } from './callback-page.ts';

/*
 * Where the browser comes back to (RFC 8252 section 7.3): a server on 127.0.0.1, for one redirect. A request that does
 * not belong to the login is refused and does not end it, or anything on this machine could.
 */

/** The redirect that belongs to the login. The browser waits for its page until one of the two is called. */
export interface Callback {
  readonly parameters: URLSearchParams;
  /** Says that the login is done. Call it once the credential is stored. */
  succeed(login: { resource: string; account: string }): Promise<void>;
  fail(page: { title: string; text: readonly string[] }): Promise<void>;
}

export interface CallbackServer {
  /** What is registered and sent as `redirect_uri`. */
  readonly redirectUri: string;
  /**
   * Waits for the redirect.
   *
   * @throws LoginTimeoutError, LoginCancelledError
   */
  next(options: { timeoutMs: number; signal?: AbortSignal | undefined }): Promise<Callback>;
  /** Ends the server and every connection to it. */
  close(): Promise<void>;
}

export interface CallbackServerOptions {
  /** A free port when not given. */
  readonly port?: number | undefined;
  /** Whether a redirect with these parameters belongs to the login: its `state` is the one that was sent. */
  readonly belongs: (parameters: URLSearchParams) => boolean;
}

const PATH = '/callback';
const HOST = '127.0.0.1';

/** A code and a state have a few hundred characters. */
const MAX_HEADER_BYTES = 16 * 1024;
const REQUEST_TIMEOUT_MS = 10_000;

/** @throws InvalidArgumentError when the port cannot be had */
export async function openCallbackServer(options: CallbackServerOptions): Promise<CallbackServer> {
  let taken = false;
  let refused = 0;
  let arrived: (callback: Callback) => void = () => {};
  const arrival = new Promise<Callback>((resolve) => {
    arrived = resolve;
  });

  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => {
      const url = targetOf(request, server);
      if (url === undefined) return answer(response, 404, NOT_HERE);
      if (request.method !== 'GET') return answer(response, 405, NOT_HERE, { allow: 'GET' });
      if (taken) return answer(response, 410, ALREADY_USED);
      if (!options.belongs(url.searchParams)) {
        refused += 1;
        return answer(response, 400, NOT_OURS);
      }
      taken = true;
      arrived(callbackOf(url.searchParams, response));
    },
  );
  await listen(server, options.port);
  return {
    redirectUri: `http://${HOST}:${portOf(server)}${PATH}`,
    next: ({ timeoutMs, signal }) => waitFor(arrival, timeoutMs, signal, () => refused),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The requested URL, if it is the callback's and was asked of this very host (a rebound name would not be). */
function targetOf(request: IncomingMessage, server: Server): URL | undefined {
  const hosts = [`${HOST}:${portOf(server)}`, `localhost:${portOf(server)}`];
  if (!hosts.includes(request.headers.host ?? '')) return undefined;
  const target = request.url ?? '';
  if (!URL.canParse(target, `http://${HOST}`)) return undefined;
  const url = new URL(target, `http://${HOST}`);
  return url.pathname === PATH ? url : undefined;
}

function callbackOf(parameters: URLSearchParams, response: ServerResponse): Callback {
  return {
    parameters,
    succeed: ({ resource, account }) =>
      answered(response, 200, {
        kind: 'success',
        title: 'You are logged in',
        text: ['You can close this tab and go back to the terminal.'],
        facts: { Server: resource, ...(account === 'default' ? {} : { Account: account }) },
      }),
    fail: ({ title, text }) => answered(response, 400, { kind: 'failure', title, text }),
  };
}

const NOT_HERE: Page = {
  kind: 'failure',
  title: 'Nothing is here',
  text: ['This address only takes the end of a login.'],
};
const NOT_OURS: Page = {
  kind: 'failure',
  title: 'This does not belong to the login',
  text: [
    'The page that sent you here is not part of the login that is under way, so nothing was done.',
    'If you have several tabs of it open, use the newest one. The terminal still waits.',
  ],
};
const ALREADY_USED: Page = {
  kind: 'failure',
  title: 'This login was finished before',
  text: ['A login can be used once. You can close this tab; the terminal says how it ended.'],
};

function answer(
  response: ServerResponse,
  status: number,
  page: Page,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { ...PAGE_HEADERS, connection: 'close', ...headers });
  response.end(renderPage(page));
}

/** Resolves when the page has left, or the browser has. */
function answered(response: ServerResponse, status: number, page: Page): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed) return resolve();
    response.once('close', () => resolve());
    answer(response, status, page);
  });
}

async function listen(server: Server, port: number | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const busy = 'code' in cause && cause.code === 'EADDRINUSE';
      reject(
        new InvalidArgumentError(
          `Port ${port ?? 0} on ${HOST} ${busy ? 'is in use' : 'cannot be opened'}, so the browser could not come back.`,
          { cause, hint: 'Leave --callback-port out to take any free port, or name another one.' },
        ),
      );
    });
    server.listen({ host: HOST, port: port ?? 0, exclusive: true }, () => resolve());
  });
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function waitFor(
  arrival: Promise<Callback>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  refused: () => number,
): Promise<Callback> {
  let cleanUp = () => {};
  const ended = new Promise<never>((_resolve, reject) => {
    const cancel = () => reject(new LoginCancelledError('The login was cancelled. Nothing was stored.'));
    const timer = setTimeout(() => {
      const others =
        refused() === 0
          ? ''
          : ` ${refused()} redirect${refused() === 1 ? '' : 's'} with the wrong state came and did not belong to this login.`;
      reject(
        new LoginTimeoutError(
          `Nobody finished the login in the browser within ${Math.round(timeoutMs / 1000)} s.${others} Nothing was stored.`,
          { hint: 'Log in again; --timeout SECONDS gives more time.' },
        ),
      );
    }, timeoutMs);
    if (signal?.aborted) cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    cleanUp = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', cancel);
    };
  });
  try {
    return await Promise.race([arrival, ended]);
  } finally {
    cleanUp();
  }
}
