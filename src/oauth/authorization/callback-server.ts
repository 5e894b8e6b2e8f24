import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { DEFAULT_ACCOUNT } from '../../credential.ts';
import { InvalidArgumentError, LoginCancelledError, LoginTimeoutError } from '../../errors.ts';
import { isAnotherUser, type TcpPeer, tcpClientOf } from '../../system/network/tcp-peer.ts';
import { PAGE_HEADERS, type Page, renderPage } from './callback-page.ts';

/*
 * The server that receives the redirect (RFC 8252 section 7.3). It listens on the loopback addresses, for one redirect.
 * It refuses a request that does not belong to the login and keeps waiting: otherwise any local program could end the
 * login.
 *
 * - It listens on one port of both 127.0.0.1 and ::1. A redirect to `localhost` goes to either; most browsers try ::1
 *   first. Another program that holds the port there would get the code (RFC 8252 section 8.3).
 * - It refuses a redirect from another user of this machine. The `state` proves nothing: the authorization URL is an
 *   argument of the browser's process, which every user can read. Another user could use it to send a code of their own
 *   login.
 */

/**
 * The redirect that belongs to the login. The browser waits for its page until the caller calls `succeed` or `fail`.
 */
export interface Callback {
  readonly parameters: URLSearchParams;
  /** The user whose program sent the redirect, as far as this system reports it. */
  readonly peer: TcpPeer;
  /** Tells the browser that the login is done. Call it after the credential is stored. */
  succeed(login: LoginName): Promise<void>;
  fail(page: { title: string; text: readonly string[]; login?: LoginName | undefined }): Promise<void>;
}

/** The server and account that the page names. */
export interface LoginName {
  readonly resource: string;
  readonly account: string;
}

export interface CallbackServer {
  /** The URL to register and to send as `redirect_uri`. */
  readonly redirectUri: string;
  /**
   * Waits for the redirect.
   *
   * @throws LoginTimeoutError, LoginCancelledError
   */
  next(options: { timeoutMs: number; signal?: AbortSignal | undefined }): Promise<Callback>;
  /** Closes the server and every connection to it. */
  close(): Promise<void>;
}

export interface CallbackServerOptions {
  /** Default: a free port. */
  readonly port?: number | undefined;
  /**
   * Tells whether a redirect with these parameters belongs to the login: whether its `state` is the one that was sent.
   */
  readonly belongs: (parameters: URLSearchParams) => boolean;
  /**
   * Called when the server refuses a redirect with the right parameters because another user of this machine sent it.
   */
  readonly onOtherUser?: ((uid: number) => void) | undefined;
  /** Accept the redirect from any user. Default `false`. */
  readonly anyUser?: boolean | undefined;
}

const PATH = '/callback';
const HOST = '127.0.0.1';
const HOST_6 = '::1';

/** Maximum number of tries to find a port that is free on both addresses. */
const PORT_TRIES = 20;

/** A code and a state take a few hundred characters. */
const MAX_HEADER_BYTES = 16 * 1024;
const REQUEST_TIMEOUT_MS = 10_000;

/** @throws InvalidArgumentError when the port cannot be opened */
export async function openCallbackServer(options: CallbackServerOptions): Promise<CallbackServer> {
  let taken = false;
  const refused = { state: 0, user: 0 };
  let arrived: (callback: Callback) => void = () => {};
  const arrival = new Promise<Callback>((resolve) => {
    arrived = resolve;
  });

  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    if (!isAskedForHere(request)) return answer(response, 421, NOT_HERE);
    const query = queryOf(request);
    if (query === undefined) return answer(response, 404, NOT_HERE);
    if (request.method !== 'GET') return answer(response, 405, NOT_HERE, { allow: 'GET' });
    // A prefetched page is never shown. After a refusal, the browser requests the URL again when the user opens it.
    if (isPrefetch(request)) return answer(response, 503, NOT_HERE);
    if (taken) return answer(response, 410, ALREADY_USED);
    const parameters = new URLSearchParams(query);
    if (!options.belongs(parameters)) {
      refused.state += 1;
      return answer(response, 400, NOT_OURS);
    }
    const peer = await tcpClientOf(request.socket);
    if (options.anyUser !== true && (isAnotherUser(peer) || peer.kind === 'gone')) {
      if (peer.kind === 'user') {
        refused.user += 1;
        options.onOtherUser?.(peer.uid);
      }
      return answer(response, 403, OTHER_USER);
    }
    // `tcpClientOf` awaits, so another redirect may have arrived meanwhile.
    if (taken) return answer(response, 410, ALREADY_USED);
    taken = true;
    arrived(callbackOf(parameters, peer, response));
  };
  const servers = await listenOnBoth(
    () => createServer(LIMITS, (request, response) => void handle(request, response)),
    options.port,
  );
  const [{ port }] = servers;
  return {
    redirectUri: `http://${HOST}:${port}${PATH}`,
    next: ({ timeoutMs, signal }) => waitFor(arrival, timeoutMs, signal, refused),
    close: async () => {
      await Promise.all(servers.map(({ server }) => closed(server)));
    },
  };
}

const LIMITS = {
  maxHeaderSize: MAX_HEADER_BYTES,
  requestTimeout: REQUEST_TIMEOUT_MS,
  headersTimeout: REQUEST_TIMEOUT_MS,
  connectionsCheckingInterval: 1000,
};

/** Tells whether the request names this server. With DNS rebinding, the Host header names another one. */
function isAskedForHere({ headers, socket }: IncomingMessage): boolean {
  const address = socket.localAddress === HOST_6 ? `[${HOST_6}]` : HOST;
  // The URL parser omits port 80, as browsers do.
  return [address, 'localhost'].some(
    (name) => headers.host === new URL(`http://${name}:${socket.localPort}`).host,
  );
}

/** Returns the query of the requested URL, if its path is the callback's. */
function queryOf({ url = '' }: IncomingMessage): string | undefined {
  if (url === PATH) return '';
  return url.startsWith(`${PATH}?`) ? url.slice(PATH.length + 1) : undefined;
}

function isPrefetch({ headers }: IncomingMessage): boolean {
  return [headers['sec-purpose'], headers['purpose'], headers['x-moz']].some(
    (purpose) => typeof purpose === 'string' && /prefetch|preview/i.test(purpose),
  );
}

function callbackOf(parameters: URLSearchParams, peer: TcpPeer, response: ServerResponse): Callback {
  return {
    parameters,
    peer,
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
const OTHER_USER: Page = {
  kind: 'failure',
  title: 'This comes from another user',
  text: [
    'Another user of this machine has started the login than the one whose browser this is, so nothing was done.',
    'If both are you, log in again with --paste, and copy the address of the page that the browser ends at into the terminal.',
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

/** Resolves when the page is sent or the browser has disconnected. */
function answered(response: ServerResponse, status: number, page: Page): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed || response.headersSent) return resolve();
    response.once('close', () => resolve());
    answer(response, status, page);
  });
}

interface Listening {
  readonly server: Server;
  readonly port: number;
}

/** Opens one port on both loopback addresses; on 127.0.0.1 only if the machine has no IPv6. */
async function listenOnBoth(
  make: () => Server,
  port: number | undefined,
): Promise<readonly [Listening, ...Listening[]]> {
  for (let tries = 1; ; tries += 1) {
    const first = await listen(make(), HOST, port);
    try {
      return [first, await listen(make(), HOST_6, first.port)];
    } catch (error) {
      if (error instanceof NoSuchAddress) return [first];
      await closed(first.server);
      if (port !== undefined || tries === PORT_TRIES) throw error;
    }
  }
}

class NoSuchAddress extends Error {}

async function listen(server: Server, host: string, port: number | undefined): Promise<Listening> {
  await new Promise<void>((resolve, reject) => {
    // The listener stays after startup. If a later accept fails, the browser repeats the request.
    server.on('error', (cause) => {
      const code = 'code' in cause ? cause.code : undefined;
      if (code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT') return reject(new NoSuchAddress());
      const why = code === 'EADDRINUSE' ? 'is in use' : 'cannot be opened';
      const what = port === undefined ? `No port on ${host} can be opened` : `Port ${port} on ${host} ${why}`;
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
    server.listen({ host, port: port ?? 0, exclusive: true, ipv6Only: true }, () => resolve());
  });
  const address = server.address();
  return { server, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

async function waitFor(
  arrival: Promise<Callback>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  refused: { readonly state: number; readonly user: number },
): Promise<Callback> {
  let cleanUp = () => {};
  const ended = new Promise<never>((_resolve, reject) => {
    const cancel = () => reject(new LoginCancelledError('The login was cancelled. Nothing was stored.'));
    const timer = setTimeout(() => {
      const { state, user } = refused;
      const redirects = (count: number) => `${count} redirect${count === 1 ? '' : 's'}`;
      const strays =
        state === 0 ? '' : ` ${redirects(state)} with the wrong state came and did not belong to this login.`;
      const others = user === 0 ? '' : ` ${redirects(user)} of another user of this machine: refused.`;
      reject(
        new LoginTimeoutError(
          `Nobody finished the login in the browser within ${Math.round(timeoutMs / 1000)} s.${strays}${others} Nothing was stored.`,
          {
            hint:
              user === 0
                ? 'Log in again; --timeout SECONDS gives more time.'
                : 'If that user is you, copy the address that the browser ends at into the terminal: holdfast login URL --paste',
          },
        ),
      );
    }, timeoutMs);
    // The open server keeps the process alive; this timer must not.
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
