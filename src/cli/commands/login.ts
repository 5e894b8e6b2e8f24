import { canonicalResource } from '../../credential.ts';
import type { LoginResult } from '../../login/types.ts';
import { defined } from '../../values/defined.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { timeoutMs, warnOfHiddenKey, withVault } from '../open-vault.ts';
import { credentialJson } from '../output/credential-json.ts';
import { tellKeyring } from '../output/kept-where.ts';
import { relativeTime } from '../output/words.ts';
import { loginAs } from './login-as.ts';
import { loginFlow } from './login-interaction.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', ui, signal } = invocation;
  const resource = canonicalResource(argument);
  const scopes = invocation
    .text('scope')
    ?.split(/[\s,]+/)
    .filter((scope) => scope !== '');
  const as = await loginAs(invocation);
  const options = defined({
    account: invocation.text('account'),
    scopes,
    callbackPort: invocation.number('callback-port', { min: 1, max: 65_535 }),
    timeoutMs: timeoutMs(invocation),
    requirePersistence: !invocation.flag('allow-memory'),
    signal,
    callbackUrl: invocation.text('callback-url'),
    ...as,
    // A grant without a user asks no questions.
    ...(as.grant === undefined ? loginFlow(invocation, resource) : {}),
  });
  const result = await withVault(invocation, (vault) => vault.login(resource, options));
  if (ui.json) ui.dataJson({ ...result, credential: credentialJson(result.credential) });
  else await tellResult(invocation, result);
  await warnOfHiddenKey(invocation, result.keyring.id);
  return EXIT.done;
}

async function tellResult(
  { ui, environment }: Invocation,
  { credential, keyring, tiers }: LoginResult,
): Promise<void> {
  const account = credential.account === 'default' ? '' : ` as ${credential.account}`;
  ui.note(`${ui.style('green', 'Logged in')} to ${ui.style('bold', credential.resource)}${account}.`);
  if (keyring.lifetime !== 'process' && credential.expiresAt !== undefined) {
    const renewal = credential.canRefresh
      ? 'and is refreshed by itself'
      : 'and the server gave no way to refresh it';
    ui.note(`The access token expires ${relativeTime(credential.expiresAt, Date.now())}, ${renewal}.`);
  }
  await tellKeyring({ ui, environment }, { keyring, tiers });
}
