import type { CredentialId } from '../credential.ts';
import { InvalidArgumentError } from '../errors.ts';
import { bearerChallenge, parseChallenges } from '../oauth/discovery/challenge.ts';
import { DpopNonces } from '../oauth/tokens/dpop.ts';
import { scopesIn } from '../oauth-syntax.ts';
import { quote } from '../quote.ts';
import type { AccessToken } from '../tokens/access-token.ts';
import type { Vault } from '../vault/vault.ts';
import { lacksScopes, refusesItsTokens } from './login-needed.ts';
import { type Fetch, followWithinOrigin, type Outgoing, outgoing } from './outgoing.ts';
import { Session, type SessionOptions } from './session.ts';

export interface AuthorizedFetchOptions extends SessionOptions {
  /**
   * When the server asks for more scopes and they cannot be had: `respond` yields its 403 as it is, `throw` throws the error
   * that says which command adds them.
   */
  readonly onInsufficientScope?: 'respond' | 'throw' | undefined;
  /** What requests are sent with; the global `fetch` otherwise, which goes through no proxy by itself on Node 20. */
  readonly fetch?: Fetch | undefined;
}

/** A server whose every answer makes us send the request again is not followed any further. */
const MOST_TRIES = 6;

/** The nonces of resource servers, for all requests of this process (RFC 9449 section 9). */
const nonces = new DpopNonces();

/**
 * A `fetch` for one MCP server that carries the login's access token: `Bearer` (RFC 6750 section 2.1), or `DPoP` with a proof
 * for each request (RFC 9449 section 7). It takes what `fetch` takes and yields what `fetch` yields, streams untouched, and
 * - sends to the server's own origin alone: a request to another one is an error, a redirect to another one is the answer;
 * - on a 401, has the vault refresh the token that was refused, once for all who hold it, and sends the request again; when
 *   that does not help, logs in (`interaction`, or a grant) and sends it once more;
 * - on a 403 that asks for more scopes, logs in for these and those that were asked for before (step-up), at most twice for
 *   the same scopes of the same operation, and sends it again.
 * Without any login, and with a way to make one, the request is sent without a token first: the server may need none.
 *
 * A body that can be read only once (a stream, an async iterable) is not kept: the token is renewed for the next request, and
 * the 401 or 403 is the answer. The body of a `Request` object is read into memory before it is sent.
 *
 * What the returned function throws: what `fetch` and `vault.token` throw, `InvalidArgumentError` for a request to another
 * origin, `LoginRequiredError` when only a person can help (its `hint` is the command), what `vault.login` throws, and the
 * signal's reason when the caller's signal ends it.
 *
 * @param resource the MCP server's URL
 * @throws InvalidArgumentError for a resource or account that cannot be one
 */
export function authorizedFetch(vault: Vault, resource: string, options: AuthorizedFetchOptions = {}): Fetch {
  const session = new Session(vault, resource, options);
  const { origin } = new URL(session.name.resource);
  return async (input, init) => {
    const request = await outgoing(input, init);
    if (request.url.origin !== origin) throw elsewhere(request.url, session.name);
    if (request.url.username !== '' || request.url.password !== '') {
      throw new InvalidArgumentError('The URL carries a user name or password.', {
        hint: 'Leave them out; Holdfast adds the login.',
      });
    }
    const { signal } = request.init;
    try {
      signal?.throwIfAborted();
      return await exchange(session, request, options);
    } catch (error) {
      // Whatever the wait was for, its end has the form that callers of `fetch` know.
      throw signal?.aborted === true ? signal.reason : error;
    }
  };
}

/** What was done for one request so far. */
interface Progress {
  readonly access: AccessToken | undefined;
  readonly refreshed: boolean;
  readonly loggedIn: boolean;
}

async function exchange(
  session: Session,
  request: Outgoing,
  options: AuthorizedFetchOptions,
): Promise<Response> {
  const signal = request.init.signal ?? undefined;
  let progress: Progress = { access: await session.token(signal), refreshed: false, loggedIn: false };
  for (let tries = 1; ; tries += 1) {
    const { access } = progress;
    const response = await followWithinOrigin(request, (one) => send(one, access, options.fetch));
    if (response.status !== 401 && access !== undefined) session.shared.wasFruitful();
    let next: Progress | undefined;
    try {
      if (response.status === 401) next = await unauthorized(session, response, progress, signal);
      if (response.status === 403) {
        next = await forbidden(session, request, response, progress, options.onInsufficientScope === 'throw');
      }
    } catch (error) {
      await response.body?.cancel();
      throw error;
    }
    if (next === undefined || !request.repeatable || tries === MOST_TRIES) return response;
    await response.body?.cancel();
    progress = next;
  }
}

/** One request, and once more when the server wants its nonce in the proof (RFC 9449 section 9). */
async function send(
  request: Outgoing,
  access: AccessToken | undefined,
  fetch: Fetch = globalThis.fetch,
): Promise<Response> {
  const { url, method, init } = request;
  const once = () => {
    const headers = new Headers(init.headers);
    headers.delete('authorization');
    headers.delete('dpop');
    if (access !== undefined) {
      headers.set('authorization', `${access.proof ? 'DPoP' : 'Bearer'} ${access.token.reveal()}`);
      if (access.proof)
        headers.set('dpop', access.proof({ method, url: url.href, nonce: nonces.of(url.href) }));
    }
    return fetch(url, { ...init, headers });
  };
  const response = await once();
  const nonce = access?.proof && nonces.learn(url.href, response.headers);
  if (nonce === undefined || response.status !== 401 || !request.repeatable || !wantsNonce(response))
    return response;
  await response.body?.cancel();
  const again = await once();
  nonces.learn(url.href, again.headers);
  return again;
}

function wantsNonce(response: Response): boolean {
  return parseChallenges(response.headers.get('www-authenticate') ?? '').some(
    ({ scheme, parameters }) => scheme === 'dpop' && parameters.get('error') === 'use_dpop_nonce',
  );
}

/** A newer token than the one that was refused: someone else's, a refreshed one, or that of a new login. */
async function unauthorized(
  session: Session,
  response: Response,
  { access, refreshed, loggedIn }: Progress,
  signal: AbortSignal | undefined,
): Promise<Progress | undefined> {
  if (loggedIn) {
    session.shared.wasFruitless();
    return undefined;
  }
  await session.settled(signal);
  const newer = await session.token(signal, refreshed ? undefined : access?.generation);
  if (newer !== undefined && newer.generation !== access?.generation) {
    return { access: newer, refreshed: true, loggedIn };
  }
  if (!session.mayLogIn) throw refusesItsTokens(session.name);
  if (session.shared.isHopeless) return undefined;
  return { access: await session.logIn(challengeOf(response), signal), refreshed: true, loggedIn: true };
}

/** A token with the scopes that the server asks for, if they may be had. */
async function forbidden(
  session: Session,
  request: Outgoing,
  response: Response,
  progress: Progress,
  mayThrow: boolean,
): Promise<Progress | undefined> {
  const { access } = progress;
  const signal = request.init.signal ?? undefined;
  const challenge = bearerChallenge(challengeOf(response) ?? null);
  if (challenge?.error !== 'insufficient_scope') return undefined;
  const asked = scopesIn(challenge.scope ?? '');
  const giveUp = () => {
    if (mayThrow) throw lacksScopes(session.name, asked, access?.requestedScope);
    return undefined;
  };
  if (!session.mayLogIn) return giveUp();
  await session.settled(signal);
  const newer = await session.token(signal);
  if (newer !== undefined && newer.generation !== access?.generation) return { ...progress, access: newer };
  if (!session.shared.stepUp(operationOf(request), asked)) return giveUp();
  return { ...progress, access: await session.logIn(challengeOf(response), signal) };
}

function challengeOf(response: Response): string | undefined {
  return response.headers.get('www-authenticate') ?? undefined;
}

/** What the request does: `tools/call whoami`, or the HTTP method where the body does not tell. */
function operationOf({ method, init }: Outgoing): string {
  if (typeof init.body !== 'string') return method;
  try {
    const messages: unknown = JSON.parse(init.body);
    const names = [messages].flat().map((message) => {
      const { method: called, params } = message as { method?: unknown; params?: { name?: unknown } };
      return typeof called === 'string' ? [called, params?.name].filter(isString).join(' ') : '';
    });
    return names.join(', ') || method;
  } catch {
    return method;
  }
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}

function elsewhere(url: URL, { resource }: CredentialId): InvalidArgumentError {
  return new InvalidArgumentError(
    `A request to ${quote(url.origin)} cannot carry the login to ${resource}. Nothing was sent.`,
    { hint: 'Send it with another fetch: a token is for one server (RFC 8707, RFC 9700 section 2.3).' },
  );
}
