import { lifetimeInWords } from '../keyring/keyring.ts';
import type { LoginResult } from '../vault/results.ts';
import type { Ui } from './ui.ts';

/** Which keyring a login was sealed under, how long that lasts, and which were passed over: never in silence. */
export function tellKeyring(ui: Ui, { keyring, tiers }: Pick<LoginResult, 'keyring' | 'tiers'>): void {
  if (keyring.lifetime === 'process') {
    ui.note('Nothing was kept: the login ended with this command.');
    return;
  }
  ui.note(
    `Sealed under a key in ${keyring.id === 'file' ? 'the file keyring' : `the keyring ${keyring.id}`}.`,
  );
  if (keyring.lifetime !== 'disk') {
    ui.warn(`That key lasts ${lifetimeInWords(keyring.lifetime)}, and the login with it.`);
  }
  for (const { id, outcome, reason } of tiers) {
    if (outcome === 'passed-over')
      ui.note(ui.style('dim', `  ${id} was passed over: ${reason ?? 'no reason given'}`));
  }
}
