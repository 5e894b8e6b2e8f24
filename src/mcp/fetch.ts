import type { CredentialId } from '../credential.ts';
import { InvalidArgumentError } from '../errors.ts';
import { bearerChallenge, parseChallenges } from '../oauth/discovery/challenge.ts';
import { DpopNonces } from '../oauth/tokens/dpop.ts';
import { scopesIn } from '../oauth-syntax.ts';
import { quote } from '../quote.ts';
import type { AccessToken } from '../tokens/access-token.ts';
import { defined } from '../values/defined.ts';
import type { Vault } from '../vault/vault.ts';
import { lacksScopes, refusesItsTokens } from './login-needed.ts';
import type { AuthorizedFetchOptions, Fetch } from './options.ts';
import { followWithinOrigin, type Outgoing, outgoing } from './outgoing.ts';
import { Session } from './session.ts';

/** Maximum number of tries for one request, for a server whose every answer asks for another try. */
const MOST_TRIES = 6;

/** The nonces of resource servers, shared by all requests of this process (RFC 9449 section 9). */
const nonces = new DpopNonces();

/**
 * Makes a `fetch` for one MCP server that sends the login's access token: `Bearer` (RFC 6750 section 2.1), or `DPoP`
 * with a proof for each request (RFC 9449 section 7). It has the parameters and result of `fetch`, and leaves streams
 * untouched.
 * - It sends to the server's own origin only. A request to another origin is an error; a redirect to another origin is
 *   returned as the answer.
 * - On a 401, the vault refreshes the refused token once for all its holders, and the request is sent again. If that
 *   fails, it logs in (`interaction`, or a grant) and sends the request once more.
 * - On a 403 that asks for more scopes, it logs in for these and the scopes requested before (step-up), and sends the
 *   request again. It does so at most twice for the same scopes of the same operation.
 * Without a login, but with a way to make one, it first sends the request without a token: the server may not need one.
 *
 * It does not store a body that can be read only once (a stream, an async iterable). Then it gets a new token for the
 * next request and returns the 401 or 403. It reads the body of a `Request` object into memory before sending.
 *
 * The returned function throws the errors of `fetch`, `vault.token` and `vault.login`. It throws `InvalidArgumentError`
 * for a request to another origin, and `LoginRequiredError` when only a person can help (its `hint` is the command).
 * When the caller's signal aborts, it throws the signal's reason.
 *
 * @param resource the MCP server's URL
 * @throws InvalidArgumentError for an invalid resource or account
 */
export function authorizedFetch(vault: Vault, resource: string, options: AuthorizedFetchOptions = {}): Fetch {
  const session = new Session(vault, resource, options);
  const { origin } = new URL(session.id.resource);
  return async (input, init) => {
    const request = await outgoing(input, init);
    if (request.url.origin !== origin) throw elsewhere(request.url, session.id);
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
      // As with `fetch`, an abort always throws the signal's reason, whatever the request was waiting for.
      throw signal?.aborted === true ? signal.reason : error;
    }
  };
}

/** The progress of one request. */
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
    if (response.status !== 401 && access !== undefined) session.shared.wasEffective();
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

/** Sends one request, and repeats it when the server wants its nonce in the proof (RFC 9449 section 9). */
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
        headers.set('dpop', access.proof(defined({ method, url: url.href, nonce: nonces.of(url.href) })));
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

/** Gets a newer token than the refused one: from another process, from a refresh, or from a new login. */
async function unauthorized(
  session: Session,
  response: Response,
  { access, refreshed, loggedIn }: Progress,
  signal: AbortSignal | undefined,
): Promise<Progress | undefined> {
  if (loggedIn) {
    session.shared.wasIneffective();
    return undefined;
  }
  await session.settled(signal);
  const newer = await session.token(signal, refreshed ? undefined : access?.generation);
  if (newer !== undefined && newer.generation !== access?.generation) {
    return { access: newer, refreshed: true, loggedIn };
  }
  if (!session.mayLogIn) throw refusesItsTokens(session.id);
  if (session.shared.isHopeless) return undefined;
  return { access: await session.logIn(challengeOf(response), signal), refreshed: true, loggedIn: true };
}

/** Gets a token with the scopes that the server asks for, if the login can get them. */
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
    if (mayThrow) throw lacksScopes(session.id, asked, access?.requestedScope);
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

/** The operation of a request: `tools/call whoami`, or the HTTP method if the body does not say. */
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
