import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { DEFAULT_ACCOUNT } from '../credential.ts';
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
  succeed(login: LoginName): Promise<void>;
  fail(page: { title: string; text: readonly string[]; login?: LoginName | undefined }): Promise<void>;
}

/** What the person logs in to, for the page to say. */
export interface LoginName {
  readonly resource: string;
  readonly account: string;
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
      if (!isAskedForHere(request, server)) return answer(response, 421, NOT_HERE);
      const query = queryOf(request);
      if (query === undefined) return answer(response, 404, NOT_HERE);
      if (request.method !== 'GET') return answer(response, 405, NOT_HERE, { allow: 'GET' });
      // Nobody sees what was fetched ahead. Refused, the browser comes again when the person does.
      if (isPrefetch(request)) return answer(response, 503, NOT_HERE);
      if (taken) return answer(response, 410, ALREADY_USED);
      const parameters = new URLSearchParams(query);
      if (!options.belongs(parameters)) {
        refused += 1;
        return answer(response, 400, NOT_OURS);
      }
      taken = true;
      arrived(callbackOf(parameters, response));
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

/** Whether the request names this very server; one for a name that was rebound to this address does not. */
function isAskedForHere({ headers }: IncomingMessage, server: Server): boolean {
  // The URL parser leaves out port 80, as a browser does.
  return [HOST, 'localhost'].some(
    (name) => headers.host === new URL(`http://${name}:${portOf(server)}`).host,
  );
}

/** The query of the requested URL, if it is the callback's. */
function queryOf({ url = '' }: IncomingMessage): string | undefined {
  if (url === PATH) return '';
  return url.startsWith(`${PATH}?`) ? url.slice(PATH.length + 1) : undefined;
}

function isPrefetch({ headers }: IncomingMessage): boolean {
  return [headers['sec-purpose'], headers['purpose'], headers['x-moz']].some(
    (purpose) => typeof purpose === 'string' && /prefetch|preview/i.test(purpose),
  );
}

function callbackOf(parameters: URLSearchParams, response: ServerResponse): Callback {
  return {
    parameters,
    succeed: (login) =>
      answered(response, 200, {
        kind: 'success',
        title: 'You are logged in',
        text: ['You can close this tab and go back to the terminal.'],
        facts: factsOf(login),
      }),
    fail: ({ title, text, login }) =>
      answered(response, 400, { kind: 'failure', title, text, facts: login && factsOf(login) }),
  };
}

function factsOf({ resource, account }: LoginName): Record<string, string> {
  return { Server: resource, ...(account === DEFAULT_ACCOUNT ? {} : { Account: account }) };
}

const NOT_HERE: Page = {
  kind: 'notice',
  title: 'Nothing is here',
  text: ['This address only takes the end of a login.'],
};
const NOT_OURS: Page = {
  kind: 'failure',
  title: 'This does not belong to the login',
  text: [
    'The page that sent you here is not part of the login that is under way, so nothing was done.',
    'If you have several tabs of it open, use the newest one. The terminal is still waiting.',
  ],
};
const ALREADY_USED: Page = {
  kind: 'notice',
  title: 'This login was used before',
  text: ['It can be used once only. You can close this tab; the terminal says how the login went.'],
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
    if (response.destroyed || response.headersSent) return resolve();
    response.once('close', () => resolve());
    answer(response, status, page);
  });
}

async function listen(server: Server, port: number | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    // It stays: a connection that cannot be accepted later is the browser's to repeat.
    server.on('error', (cause) => {
      const why = 'code' in cause && cause.code === 'EADDRINUSE' ? 'is in use' : 'cannot be opened';
      const what = port === undefined ? `No port on ${HOST} can be opened` : `Port ${port} on ${HOST} ${why}`;
      reject(
        new InvalidArgumentError(`${what}, so the browser could not come back.`, {
          cause,
          hint:
            port === undefined
              ? 'See whether this place allows programs to listen on the loopback interface.'
              : 'Leave --callback-port out to take any free port, or name another one.',
        }),
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
    // It is the server that keeps the process alive for this, and no longer than it is open.
    timer.unref();
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
