import { setMaxListeners } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { CredentialId, canonicalResource, isLoopback } from '../credential.ts';
import { createHttpFetch } from '../http/fetch.ts';
import { serverSettings } from '../login/server-settings.ts';
import type { Fetch } from '../mcp/options.ts';
import { quote } from '../quote.ts';
import type { Environment } from '../system/environment.ts';
import { layoutOf } from '../system/files/paths.ts';
import { defined } from '../values/defined.ts';
import type { Vault } from '../vault/vault.ts';
import { LoginCoordinator } from './login/login-coordinator.ts';
import type { RelayLogin } from './login/login-placeholder.ts';
import { LineReader } from './relay/lines.ts';
import { CODE, errorText } from './relay/message.ts';
import { Relay } from './relay/relay.ts';
import { describe } from './relay/rpc-error.ts';
import { AuthorizedSender, persistently, sendPlain } from './upstream/authorized-sender.ts';
import { RequestHeaders } from './upstream/request-headers.ts';
import type { Send } from './upstream/server-transport.ts';
import { type Transport, Upstream } from './upstream/upstream.ts';

/** Maximum length of one line, in characters. */
const LONGEST_LINE = 64 * 1024 * 1024;

/** Time limit for open answers after the client is gone, and then for the end of the session, in milliseconds. */
const GRACE_MS = 800;

export interface ServeOptions {
  readonly url: string;
  /** Sent with each request to that server's origin. */
  readonly headers: Readonly<Record<string, string>>;
  /** Provides the login. Without it no token is sent, and a 401 is forwarded like any answer. */
  readonly vault?: Vault | undefined;
  readonly account?: string | undefined;
  readonly transport: Transport;
  readonly callbackPort?: number | undefined;
  readonly environment: Environment;
  /** Ends the proxy. */
  readonly signal: AbortSignal;
  readonly input: Readable;
  readonly output: Writable;
  readonly warn: (message: string) => void;
  readonly note: (message: string) => void;
  readonly debug: (message: string) => void;
}

/** Another user's server on this machine gets no token, unless the settings allow it. */
async function reachOf({ url, environment }: ServeOptions): Promise<'anywhere' | 'anyone'> {
  if (!isLoopback(new URL(url))) return 'anywhere';
  const { lenient } = await serverSettings(canonicalResource(url), layoutOf(environment), environment);
  return lenient?.otherLocalUsers === true ? 'anyone' : 'anywhere';
}

/** Runs the proxy on `input` and `output` until the input ends. */
export async function serve(options: ServeOptions): Promise<void> {
  const { url, headers, input, output, signal, warn, debug } = options;
  const { origin } = new URL(url);
  const http = createHttpFetch({ origin, headers }, await reachOf(options), options.environment);
  const requestHeaders = new RequestHeaders();
  const gone = new AbortController();
  const over = new AbortController();
  // Every login adds a listener to this signal.
  setMaxListeners(0, over.signal);
  const { send, login } = reach(options, told(http.fetch, debug), over.signal);
  const parts = {
    send,
    requestHeaders,
    deliver: (incoming: Parameters<Relay['deliver']>[0]) => relay.deliver(incoming),
  };
  const relay: Relay = new Relay({
    transport: new Upstream(url, options.transport, parts),
    requestHeaders,
    write: (text) => void output.write(`${text}\n`),
    login,
    resource: url,
    warn,
    debug,
  });
  const lines = new LineReader(
    LONGEST_LINE,
    (line) => relay.receive(line),
    () => {
      const message = `A message of more than ${LONGEST_LINE / (1024 * 1024)} MiB was not taken.`;
      output.write(`${errorText(null, { code: CODE.invalidRequest, message })}\n`);
      warn(message);
    },
  );
  // A client that no longer reads is gone, even if it still writes.
  output.on('error', () => gone.abort());
  await ended(input, (chunk) => lines.write(chunk), AbortSignal.any([signal, gone.signal]));
  if (!signal.aborted) lines.end();
  await relay.end(signal.aborted || gone.signal.aborted ? 0 : GRACE_MS, GRACE_MS);
  // This also ends a login that is still running.
  over.abort();
  http.close();
  input.destroy();
}

function reach(options: ServeOptions, fetch: Fetch, over: AbortSignal): { send: Send; login?: RelayLogin } {
  const { url, vault, account, environment, callbackPort, headers, note } = options;
  if (vault === undefined) {
    return { send: (to, init) => persistently(init.signal, () => sendPlain(fetch, to, init)) };
  }
  const id = CredentialId.of(url, account);
  const coordinator = new LoginCoordinator({ vault, id, environment, note });
  const sender = new AuthorizedSender({
    vault,
    id,
    fetch,
    coordinator,
    login: defined({ callbackPort, headers, signal: over }),
  });
  return {
    send: sender.send,
    login: { coordinator, account: id.account, generation: () => sender.generation() },
  };
}

/** Logs each request without its secrets. */
function told(fetch: Fetch, debug: (message: string) => void): Fetch {
  return async (input, init) => {
    const { pathname } = new URL(input instanceof Request ? input.url : input);
    const what = `${init?.method ?? 'GET'} ${quote(pathname)}`;
    try {
      const response = await fetch(input, init);
      debug(`${what} answered ${response.status}`);
      return response;
    } catch (error) {
      debug(`${what} failed: ${describe(error)}`);
      throw error;
    }
  };
}

function ended(input: Readable, onChunk: (chunk: Buffer) => void, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      input.off('data', onChunk);
      resolve();
    };
    if (signal.aborted) return done();
    signal.addEventListener('abort', done, { once: true });
    input.on('data', onChunk).on('end', done).on('error', done).on('close', done);
  });
}
