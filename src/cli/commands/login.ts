import { canonicalResource } from '../../credential.ts';
import { openBrowser } from '../../system/browser.ts';
import type { TierReport } from '../../keyring/keyring.ts';
import type { LoginInteraction } from '../../vault/results.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { timeoutMs, withVault } from '../open-vault.ts';
import type { Ui } from '../ui.ts';
import { relativeTime } from '../words.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', ui, signal } = invocation;
  const resource = canonicalResource(argument);
  const scopes = invocation
    .text('scope')
    ?.split(/[\s,]+/)
    .filter((scope) => scope !== '');
  const options = {
    account: invocation.text('account'),
    scopes,
    callbackPort: invocation.number('callback-port', { min: 1, max: 65_535 }),
    timeoutMs: timeoutMs(invocation),
    mustLast: !invocation.flag('allow-memory'),
    signal,
    interaction: interactionOf(invocation),
  };
  const { credential, keyring, tiers } = await withVault(invocation, (vault) =>
    vault.login(resource, options),
  );
  if (ui.json) {
    ui.dataJson({ credential, keyring, tiers });
    return EXIT.done;
  }
  const account = credential.account === 'default' ? '' : ` as ${credential.account}`;
  ui.note(`${ui.style('green', 'Logged in')} to ${ui.style('bold', credential.resource)}${account}.`);
  if (credential.expiresAt !== undefined) {
    const renewal = credential.canRefresh
      ? 'and is refreshed by itself'
      : 'and the server gave no way to refresh it';
    ui.note(`The access token expires ${relativeTime(credential.expiresAt, Date.now())}, ${renewal}.`);
  }
  ui.note(`Sealed under a key in ${whereOf(keyring.id)}.`);
  tellFallback(ui, tiers);
  return EXIT.done;
}

function interactionOf(invocation: Invocation): LoginInteraction {
  const { ui, environment } = invocation;
  return {
    progress: (message) => ui.progress(message),
    authorize: async (url) => {
      const opened = !invocation.flag('no-browser') && (await openBrowser(url, environment));
      // Without the URL the login cannot be finished, so --quiet does not hide it.
      if (opened) ui.note(`Your browser was opened. If it shows nothing, go to:\n\n  ${url}\n`);
      else ui.say(`Open this URL in a browser on this machine:\n\n  ${url}\n`);
      if (!opened && environment.variables['SSH_CONNECTION']) {
        const port = new URL(new URL(url).searchParams.get('redirect_uri') ?? 'http://127.0.0.1').port;
        ui.note(
          `You are connected over SSH, and the browser comes back to port ${port} of this machine. On yours, first run:\n\n  ssh -L ${port}:127.0.0.1:${port} HOST\n`,
        );
      }
    },
  };
}

function whereOf(keyring: string): string {
  if (keyring === 'file') return 'the file keyring';
  return keyring === 'memory' ? 'memory: the login ends with this process' : `the keyring ${keyring}`;
}

/** A weaker keyring than there could be is never taken in silence. */
function tellFallback(ui: Ui, tiers: readonly TierReport[]): void {
  for (const { id, outcome, reason } of tiers) {
    if (outcome === 'passed-over')
      ui.note(ui.style('dim', `  ${id} was passed over: ${reason ?? 'no reason given'}`));
  }
}
