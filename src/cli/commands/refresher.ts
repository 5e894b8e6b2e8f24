import { displayUrl } from '../../display-url.ts';
import type { RefreshedLogin, RefresherResult, RefresherStates } from '../../refresh/refresher-options.ts';
import { defined } from '../../values/defined.ts';
import type { Vault } from '../../vault/vault.ts';
import type { Invocation } from '../command.ts';
import { EXIT, exitCodeOf } from '../exit-code.ts';
import { withVault } from '../open-vault.ts';
import type { Ui } from '../output/ui.ts';
import { plural } from '../output/words.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { ui, signal } = invocation;
  const everyS = invocation.number('every', { min: 1, max: 86_400 });
  const ratePerMinute = invocation.number('rate', { min: 1, max: 1_000_000 });
  const port = invocation.number('metrics-port', { min: 0, max: 65_535 });
  const once = invocation.flag('once');
  const metrics =
    port === undefined ? undefined : await (await import('../../telemetry/http.ts')).serveMetrics(port);
  if (metrics !== undefined) ui.note(`Metrics: ${metrics.url}`, { event: 'metrics', url: metrics.url });
  let told = '';
  let warned: Promise<void> | undefined;
  try {
    const result = await withVault(invocation, async (vault) => {
      const refreshed = await vault.admin.runRefresher(
        defined({
          everyMs: everyS === undefined ? undefined : everyS * 1000,
          ratePerMinute,
          once,
          signal,
          onRefresh: (login: RefreshedLogin) => tell(ui, login),
          onLook: (states: RefresherStates) => {
            // Unchanged counts are not repeated.
            const text = counts(states);
            if (!once && text !== told) ui.note(text, { event: 'states', states });
            told = text;
            // The engine answers now. One-shot commands leave this warning to doctor; a service that runs for months
            // should log it.
            if (!once) warned ??= warnOfEngine(ui, vault);
          },
        }),
      );
      await warned;
      return refreshed;
    });
    return once ? toldOnce(ui, result) : EXIT.done;
  } finally {
    await metrics?.close();
  }
}

async function warnOfEngine(ui: Ui, { admin: { store } }: Vault): Promise<void> {
  const { durabilityWarnings } = await import('../../doctor/store-status.ts');
  for (const { message, hint } of await durabilityWarnings(store).catch(() => [])) {
    ui.warn(`${store.id}: ${message}`, hint, { event: 'durability' });
  }
}

function tell(ui: Ui, { resource, account, outcome, error }: RefreshedLogin): void {
  const login = `${resource}${account === 'default' ? '' : ` as ${account}`}`;
  const fields = { event: outcome, resource: displayUrl(resource), account, code: error?.code };
  if (outcome === 'refreshed') ui.note(`${login} has new tokens.`, fields);
  else ui.warn(`${login} was not refreshed. ${error?.message ?? ''}`.trim(), error?.hint, fields);
}

function toldOnce(ui: Ui, { states, refreshed, failures }: RefresherResult): number {
  if (ui.json) ui.dataJson({ states, refreshed, failed: failures.length });
  else ui.note(`${plural(refreshed, 'login has', 'logins have')} new tokens. ${counts(states)}`);
  const [first] = failures;
  if (first !== undefined) return exitCodeOf(first);
  // Some records may belong to another session. If none opens, the key is not this store's key.
  const others = states.fresh + states.due + states['login-required'];
  return states.undecryptable > 0 && others === 0 ? EXIT.keyring : EXIT.done;
}

function counts(states: RefresherStates): string {
  const all = Object.values(states).reduce((sum, count) => sum + count, 0);
  const parts = [
    `${states.fresh} fresh`,
    `${states.due} due`,
    ...(states['login-required'] > 0 ? [`${states['login-required']} login required`] : []),
    ...(states.undecryptable > 0 ? [`${states.undecryptable} that do not open here`] : []),
  ];
  return `${plural(all, 'login', 'logins')}: ${parts.join(', ')}.`;
}
