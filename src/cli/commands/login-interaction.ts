import { InvalidArgumentError, LoginRequiredError } from '../../errors.ts';
import { openBrowser } from '../../system/browser.ts';
import { whyNoBrowser } from '../../system/surroundings.ts';
import { loginCommand } from '../../vault/login-required.ts';
import type { DeviceCode, LoginInteraction, LoginOptions } from '../../vault/results.ts';
import type { Invocation } from '../command.ts';
import { ask, canAsk } from '../terminal.ts';
import { relativeTime } from '../words.ts';

/*
 * Which way a login goes from here. With a browser at hand, that. Else a device code, where the server has them; else the
 * URL is printed, and what the browser shows in the end may be pasted, while the redirect is waited for as well.
 */

const WAYS = ['browser', 'device', 'paste', 'no-browser'] as const;
type Way = (typeof WAYS)[number];

export interface LoginWay {
  readonly way: LoginOptions['way'];
  readonly interaction: LoginInteraction;
}

/**
 * @throws LoginRequiredError where nobody can be asked, with the command for where somebody can
 * @throws InvalidArgumentError for ways that exclude each other
 */
export function loginWay(invocation: Invocation, resource: string): LoginWay {
  const { ui, environment } = invocation;
  const named = WAYS.filter((way) => invocation.flag(way));
  if (named.length > 1) {
    throw new InvalidArgumentError(`--${named[0]} and --${named[1]} exclude each other.`, {
      hint: 'Name one way, or none for the one that works here.',
    });
  }
  const [way] = named;
  const lacking = whyNoBrowser(environment);
  // A program that reads --json shows the URL to somebody; so does whoever named a way.
  const somebody = way !== undefined || lacking === undefined || ui.json || canAsk();
  if (invocation.flag('no-input') || !somebody) throw nobody(invocation, resource, lacking);
  if (way === undefined && lacking !== undefined) ui.note(`No browser can be opened from here: ${lacking}.`);
  const opens = way === 'browser' || (way === undefined && lacking === undefined);
  const paste = way !== 'browser' && (!opens || way === 'paste') && canAsk() && !ui.json;
  return {
    way: way === 'device' ? 'device' : way === undefined && lacking !== undefined ? 'no-browser' : 'browser',
    interaction: {
      progress: (message) => ui.progress(message),
      authorize: (url) => (opens ? openOrShow(invocation, url) : show(invocation, url, way)),
      device: (code) => showCode(invocation, code),
      ...(paste ? { paste: (question) => askForRedirect(invocation, question) } : {}),
    },
  };
}

async function openOrShow({ ui, environment }: Invocation, url: string): Promise<void> {
  const json = { authorize: { url } };
  // Shown before it is tried: the redirect may come back while the browser still starts.
  if (ui.json) ui.say('', json);
  else ui.note(urlText('Opening your browser. If nothing shows, open this URL', url));
  if (await openBrowser(url, environment)) return;
  // Without the URL the login cannot be finished, so --quiet does not hide it.
  if (ui.quiet && !ui.json) ui.say(urlText('Open this URL', url), json);
  else ui.note('No browser could be opened from here.\n');
  tellTunnel({ ui, environment }, url);
}

async function show(invocation: Invocation, url: string, way: Way | undefined): Promise<void> {
  invocation.ui.say(urlText('Open this URL', url, way !== 'paste'), { authorize: { url } });
  if (!canAsk() || way === 'no-browser') tellTunnel(invocation, url);
}

/** The browser is on the machine that the person sits at, and the redirect would end there. */
function tellTunnel({ ui, environment }: Pick<Invocation, 'ui' | 'environment'>, url: string): void {
  if (!environment.variables['SSH_CONNECTION']) return;
  const port = new URL(new URL(url).searchParams.get('redirect_uri') ?? 'http://127.0.0.1').port;
  ui.note(
    `You are connected over SSH, and the browser comes back to port ${port} of this machine. On yours, first run:\n\n  ssh -L ${port}:127.0.0.1:${port} HOST\n`,
  );
}

async function showCode({ ui }: Invocation, code: DeviceCode): Promise<void> {
  const { userCode, verificationUri, verificationUriComplete, expiresAt } = code;
  const target = verificationUriComplete ?? verificationUri;
  if (canAsk() && !ui.json && !ui.quiet) {
    const { renderUnicodeCompact } = await import('uqr');
    ui.note(renderUnicodeCompact(target));
  }
  ui.say(
    `Open this URL in a browser on any machine:\n\n  ${verificationUri}\n\nand enter this code (good until ${relativeTime(expiresAt, Date.now())}):\n\n  ${ui.style('bold', userCode)}\n`,
    { device: { ...code, expiresAt: new Date(expiresAt).toISOString() } },
  );
}

async function askForRedirect(
  { ui }: Invocation,
  { problem, signal }: { readonly problem: string | undefined; readonly signal: AbortSignal },
): Promise<string> {
  if (problem === undefined) {
    ui.note(
      'When you have logged in, the browser may show a page that cannot be reached. That is expected: copy its address.',
    );
  } else {
    ui.warn(problem);
  }
  return await ask('Paste the address here: ', signal);
}

function nobody(invocation: Invocation, resource: string, lacking: string | undefined): LoginRequiredError {
  const account = invocation.text('account') ?? 'default';
  const why = lacking === undefined ? '--no-input was given' : `${lacking}, and this is no terminal`;
  return new LoginRequiredError(
    `A login to ${resource} needs a person, and nobody can be asked here: ${why}.`,
    {
      hint: `In a terminal: ${loginCommand(resource, account)}`,
    },
  );
}

function urlText(start: string, url: string, here = true): string {
  return `${start} in a browser${here ? ' on this machine' : ''}:\n\n  ${url}\n`;
}
