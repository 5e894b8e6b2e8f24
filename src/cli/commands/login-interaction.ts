import { loginCommand } from '../../credentials/login-required.ts';
import { AbortedError, InvalidArgumentError, LoginCancelledError, LoginRequiredError } from '../../errors.ts';
import type { DeviceCode, LoginHosts, LoginInteraction, LoginOptions } from '../../login/types.ts';
import { quote } from '../../quote.ts';
import { whyElsewhere, whyNoBrowser } from '../../system/headless.ts';
import { openBrowser } from '../../system/processes/browser.ts';
import type { Invocation } from '../command.ts';
import { ask, canAsk, canTell, qrCode } from '../output/terminal.ts';
import { relativeTime } from '../output/words.ts';

/*
 * Chooses the flow of a login: the browser, if one is available. Else a device code, if the server offers it. Else the
 * URL is printed, and the user may paste the browser's final address while Holdfast also waits for the redirect.
 */

const FLOWS = ['browser', 'device', 'paste', 'no-browser'] as const;

export interface LoginFlow {
  readonly flow: LoginOptions['flow'];
  readonly interaction: LoginInteraction;
}

/**
 * @throws LoginRequiredError if nobody can be asked; it names the command for a place with a user
 * @throws InvalidArgumentError for flows that exclude each other
 */
export function loginFlow(invocation: Invocation, resource: string): LoginFlow {
  const { ui, environment } = invocation;
  const named = FLOWS.filter((flow) => invocation.flag(flow));
  if (named.length > 1) {
    throw new InvalidArgumentError(`--${named[0]} and --${named[1]} exclude each other.`, {
      hint: 'Name one way, or none for the one that works here.',
    });
  }
  const [flow] = named;
  const lacking = whyNoBrowser(environment);
  if (invocation.flag('no-input')) throw nobody(invocation, resource, '--no-input was given');
  // A program that reads --json shows the URL to a user, and so does a caller that names a flow.
  if (flow === undefined && lacking !== undefined && !ui.json && !canTell()) {
    throw nobody(invocation, resource, `${lacking}, and this is no terminal`);
  }
  if (flow === undefined && lacking !== undefined) ui.note(`No browser can be opened from here: ${lacking}.`);
  const opens = flow === 'browser' || (flow === undefined && lacking === undefined);
  // A caller that names `paste` may be a program that writes to standard input.
  const pastes = flow === 'paste' || (canAsk() && !ui.json);
  const question = questionAfter((url, { issuer }) => {
    const json = { authorize: { url, issuerHost: issuer } };
    if (opens) return openOrShow(invocation, { url, pastes, json });
    // The server offers no device code either, and nobody can paste the redirect's address.
    if (flow === undefined && !pastes && !ui.json) {
      throw nobody(
        invocation,
        resource,
        `${lacking}, and standard input is no terminal to paste an address into`,
      );
    }
    return show(invocation, { url, pastes, json });
  });
  return {
    flow:
      flow === 'device' ? 'device' : flow === undefined && lacking !== undefined ? 'no-browser' : 'browser',
    interaction: {
      progress: (message) => ui.progress(message),
      authorize: question.authorize,
      device: (code) => showCode(invocation, code),
      ...(canAsk() && !ui.json ? { confirmHosts: (hosts) => confirmHosts(invocation, hosts) } : {}),
      ...(pastes
        ? {
            paste: async ({ problem, signal }) => {
              await question.isDue(signal);
              return askForRedirect(invocation, { problem, signal });
            },
          }
        : {}),
    },
  };
}

/** Asks for the pasted address only after the URL is shown, and only if an address may be needed. */
function questionAfter(showing: (url: string, hosts: LoginHosts) => Promise<boolean>) {
  let settle: (isDue: boolean) => void = () => {};
  const due = new Promise<boolean>((resolve) => {
    settle = resolve;
  });
  return {
    authorize: async (url: string, hosts: LoginHosts) => settle(await showing(url, hosts)),
    isDue: async (signal: AbortSignal): Promise<void> => {
      if (await due) return;
      await new Promise((_resolve, reject) => {
        if (signal.aborted) reject(new AbortedError('Nothing is to be pasted any more.'));
        signal.addEventListener('abort', () => reject(new AbortedError('Nothing is to be pasted any more.')));
      });
    },
  };
}

/** Asks the user, who sees both hosts. An unread question counts as no. */
async function confirmHosts({ ui, signal }: Invocation, { issuer, page }: LoginHosts): Promise<boolean> {
  const [server, other] = [quote(issuer), quote(page)];
  ui.say(
    `${ui.style('yellow', 'warning:')} The page to log in at is on ${other}, but the login goes to ${server}.\n  If they do not belong together, ${server} can take over what you have at ${other}.`,
    {},
  );
  const answer = await ask('Do they belong together? [y/N] ', signal).catch((cause: unknown) => {
    throw new LoginCancelledError('The login was cancelled. Nothing was stored.', { cause });
  });
  return /^y(es)?$/i.test(answer.trim());
}

/** The output for the user, and for a program that reads JSON. */
interface Shown {
  readonly url: string;
  /** Whether the user may paste the browser's final address. */
  readonly pastes: boolean;
  readonly json: Readonly<Record<string, unknown>>;
}

/** @returns whether the browser may not come back to this machine, so that its final address is needed */
async function openOrShow(invocation: Invocation, { url, pastes, json }: Shown): Promise<boolean> {
  const { ui, environment } = invocation;
  const isElsewhere = whyElsewhere(environment) !== undefined;
  // Shown before the browser opens: the redirect may arrive while the browser still starts.
  if (ui.json) ui.say('', json);
  else
    ui.showUrl(
      urlText('Opening your browser. If nothing shows, open this URL', url, !(pastes && isElsewhere)),
    );
  if (await openBrowser(url, environment)) return isElsewhere;
  // Without the URL the login cannot be finished, so --quiet does not hide it.
  if (ui.quiet && !ui.json) ui.say(urlText('Open this URL', url, !pastes), json);
  else ui.note('No browser could be opened from here.\n');
  if (!pastes) tellTunnel(invocation, url);
  return true;
}

async function show(invocation: Invocation, { url, pastes, json }: Shown): Promise<boolean> {
  invocation.ui.say(urlText('Open this URL', url, !pastes), json);
  if (!pastes || invocation.flag('no-browser')) tellTunnel(invocation, url);
  return true;
}

/** The browser runs on the user's own machine, and the redirect would end there. */
function tellTunnel({ ui, environment }: Pick<Invocation, 'ui' | 'environment'>, url: string): void {
  if (!environment.variables['SSH_CONNECTION']) return;
  const port = new URL(new URL(url).searchParams.get('redirect_uri') ?? 'http://127.0.0.1').port;
  ui.note(
    `You are connected over SSH, and the browser comes back to port ${port} of this machine. On yours, first run:\n\n  ssh -L ${port}:127.0.0.1:${port} HOST\n`,
  );
}

async function showCode({ ui }: Invocation, code: DeviceCode): Promise<void> {
  const { userCode, verificationUri, verificationUriComplete, expiresAt, issuerHost } = code;
  const doubt = doubtAbout(new URL(verificationUri).host, issuerHost);
  const picture =
    canTell() && !ui.json && !ui.quiet ? await qrCode(verificationUriComplete ?? verificationUri) : undefined;
  if (picture !== undefined) ui.note(`Scan this with a phone:\n\n${picture}\n`);
  const start = picture === undefined ? 'Open' : 'Or open';
  const life = relativeTime(expiresAt + 1000, Date.now()).replace(/^in /, '');
  ui.say(
    `${doubt === undefined ? '' : `${ui.style('yellow', 'warning:')} ${doubt}\n`}${start} this URL in a browser on any machine:\n\n  ${verificationUri}\n\nand enter this code there, within ${life}:\n\n  ${ui.style('bold', userCode)}\n`,
    { device: { ...code, warning: doubt, expiresAt: new Date(expiresAt).toISOString() } },
  );
}

/**
 * Warns of a page on a foreign host. An attacker who shows a user another page and code gets the user's access (RFC
 * 8628 section 5.4). The user must see this warning.
 */
function doubtAbout(page: string, issuer: string): string | undefined {
  if (page === issuer || page.endsWith(`.${issuer}`)) return undefined;
  return `The page to enter the code at is on ${quote(page)}, but the login goes to ${quote(issuer)}.\n  If they do not belong together, do not enter it: ${quote(issuer)} could take over what you have at ${quote(page)}.`;
}

async function askForRedirect(
  { ui }: Invocation,
  { problem, signal }: { readonly problem: string | undefined; readonly signal: AbortSignal },
): Promise<string> {
  if (problem === undefined) {
    ui.note(
      'When you have logged in, the browser may end at a page that cannot be reached. That is expected: copy the\naddress of that page from the browser.\n',
    );
  } else {
    // A user who is asked again must see why, even with --quiet.
    ui.say(`${ui.style('yellow', 'warning:')} ${problem}`, { paste: { problem } });
  }
  try {
    return await ask(ui.json ? '' : 'Paste the address here: ', signal);
  } catch (error) {
    if (signal.aborted || !(error instanceof AbortedError)) throw error;
    if (canAsk())
      throw new LoginCancelledError('The login was cancelled. Nothing was stored.', { cause: error });
    throw new LoginRequiredError('Standard input ended before an address was pasted. Nothing was stored.', {
      hint: 'Log in on a terminal, or write the address to standard input as one line.',
    });
  }
}

function nobody(invocation: Invocation, resource: string, why: string): LoginRequiredError {
  const command = loginCommand(resource, invocation.text('account') ?? 'default');
  return new LoginRequiredError(
    `A login to ${resource} needs a person, and nobody can be asked here: ${why}.`,
    { hint: `In a terminal: ${command}` },
  );
}

function urlText(start: string, url: string, here: boolean): string {
  return `${start} in a browser on ${here ? 'this' : 'any'} machine:\n\n  ${url}\n`;
}
