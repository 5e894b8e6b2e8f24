import type { CredentialId } from '../credential.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import { InvalidArgumentError, LoginDeniedError } from '../errors.ts';
import {
  type AuthorizationRequest,
  belongsTo,
  createAuthorizationRequest,
  readAuthorizationResponse,
} from '../oauth/authorization/authorization.ts';
import { type Callback, openCallbackServer } from '../oauth/authorization/callback-server.ts';
import { readPasted } from '../oauth/authorization/pasted-redirect.ts';
import { exchangeCode } from '../oauth/tokens/token.ts';
import { quote } from '../quote.ts';
import { isAnotherUser, type TcpPeer } from '../system/network/tcp-peer.ts';
import type { Attempt } from './attempt.ts';
import { clientFor, openServerFor } from './client.ts';
import { hostsOf } from './hosts.ts';
import type { LoginInteraction } from './types.ts';

/*
 * The authorization code grant with a browser (RFC 8252). The redirect reaches this machine, or the user pastes it from
 * a browser on another machine. The first of the two counts.
 */

/** The authorization code, and the page that shows the result of the login. No page after a paste. */
interface Arrival {
  readonly code: string;
  readonly page: Callback | undefined;
}

export async function logInByBrowser(attempt: Attempt): Promise<StoredCredential> {
  const { id, options, discovery, interaction, plan, dpop, environment, report } = attempt;
  let request: AuthorizationRequest | undefined;
  const belongs = (parameters: URLSearchParams) => request !== undefined && belongsTo(request, parameters);
  const server = await openServerFor(plan, openCallbackServer, options, {
    belongs,
    anyUser: options.lenient?.otherLocalUsers,
    onOtherUser: (uid) =>
      report({
        type: 'redirect-refused',
        message: `A program of user ${uid} on this machine sent a redirect that belongs to this login. It was refused; the login goes on.`,
        hint: 'If that user is you, copy the address that the browser ends at into the terminal: holdfast login URL --paste. To take redirects of every user: --lenient other-local-users',
      }),
  });
  try {
    const back = redirectUriOf(server.redirectUri, options.callbackUrl);
    const { client, redirectUri } = await clientFor(plan, back, discovery, { ...options, environment });
    request = createAuthorizationRequest(discovery, client, redirectUri, {
      scopes: options.scopes,
      stepUp: options.challenge !== undefined,
      formerScope: attempt.formerScope,
      dpopThumbprint: dpop?.thumbprint,
    });
    const { code, page } = await arrivalOf(server, request, attempt);
    if (page !== undefined) tellPeer(page.peer, attempt);
    try {
      interaction.progress?.('Fetching the tokens');
      const { codeVerifier, requestedScope } = request;
      const answer = await exchangeCode(
        { ...discovery.server, reach: discovery.reach },
        client,
        { code, codeVerifier, redirectUri, resourceParameter: discovery.resourceParameter },
        // The first request uses up the code, so the caller's signal no longer aborts it.
        { dpopKey: dpop?.secret, environment },
      );
      const held = await attempt.save({ answer, client, requestedScope });
      await page?.succeed({ resource: id.resource, account: id.account });
      return held;
    } catch (error) {
      if (page !== undefined) await showFailure(page, id, error);
      throw error;
    }
  } finally {
    await server.close();
  }
}

/** Shows the URL, and waits for the redirect or for a paste. */
async function arrivalOf(
  server: Awaited<ReturnType<typeof openCallbackServer>>,
  request: AuthorizationRequest,
  { interaction, options, timeoutMs, id, discovery }: Attempt,
): Promise<Arrival> {
  const over = new AbortController();
  const signal = options.signal === undefined ? over.signal : AbortSignal.any([options.signal, over.signal]);
  const redirect = server.next({ timeoutMs, signal: options.signal }).then(async (page) => {
    try {
      return { page, code: readAuthorizationResponse(request, page.parameters) };
    } catch (error) {
      await showFailure(page, id, error);
      throw error;
    }
  });
  const pasted = interaction.paste === undefined ? [] : [pastedCode(request, interaction, signal)];
  // `authorize` may fail first. Then nobody else handles a rejection of these waits.
  for (const wait of [redirect, ...pasted]) wait.catch(() => {});
  try {
    interaction.progress?.('Waiting for you to log in with the browser');
    // The response may arrive before `authorize` resolves; do not wait for it then.
    const arrival = Promise.race([redirect, ...pasted]);
    const shown = interaction.authorize(request.url, hostsOf(discovery, 'browser'));
    return await Promise.race([arrival, shown.then(() => arrival)]);
  } finally {
    over.abort();
  }
}

/** Reports a redirect from another user, or one whose user could not be checked. */
function tellPeer(peer: TcpPeer, { interaction, report }: Attempt): void {
  if (isAnotherUser(peer)) {
    report({
      type: 'leniency',
      message: `The redirect came from user ${peer.uid} of this machine. (lenient: other-local-users)`,
    });
  }
  if (peer.kind === 'unlisted') {
    interaction.progress?.(
      'The redirect came through a tunnel or from a container, so its user is not known',
    );
  }
}

/** Asks until the user pastes the answer to this request. Each time it shows what was wrong with the last text. */
async function pastedCode(
  request: AuthorizationRequest,
  interaction: LoginInteraction,
  signal: AbortSignal,
): Promise<Arrival> {
  let problem: string | undefined;
  for (;;) {
    let text: string;
    try {
      text = (await interaction.paste?.({ problem, signal })) ?? '';
    } catch (error) {
      // The redirect came first, or the caller cancelled the login. Other code reports both.
      if (signal.aborted) return new Promise(() => {});
      throw error;
    }
    const read = readPasted(text, request);
    if ('code' in read) return { code: read.code, page: undefined };
    problem = read.problem;
  }
}

/** With a redirector or a forwarded port, the redirect URI differs from the URL that the server listens on. */
function redirectUriOf(listening: string, template: string | undefined): string {
  if (template === undefined) return listening;
  const text = template.replaceAll('${callbackPort}', new URL(listening).port);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const local = url !== undefined && ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname);
  if ((url?.protocol === 'https:' || (url?.protocol === 'http:' && local)) && url.hash === '') return text;
  throw new InvalidArgumentError(`The callback URL ${quote(text)} cannot be used.`, {
    hint: 'It is https, or http to this machine, and has no fragment; ${callbackPort} stands for the port that Holdfast listens at.',
  });
}

/** The page says as little as possible: the terminal quotes the server's text. */
async function showFailure(callback: Callback, id: CredentialId, error: unknown): Promise<void> {
  const denied = error instanceof LoginDeniedError;
  await callback
    .fail({
      title: denied ? 'Access was refused' : 'The login did not succeed',
      text: [
        denied
          ? 'The authorization server says that access was not granted. Nothing was stored.'
          : 'Nothing was stored. The terminal says what went wrong.',
        'You can close this tab and go back to the terminal.',
      ],
      login: id,
    })
    .catch(() => {
      // The browser has disconnected; the terminal still shows the error.
    });
}
