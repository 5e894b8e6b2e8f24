import { lifetimeInWords } from '../../keyring/keyring.ts';
import type { LoginResult } from '../../login/types.ts';
import { fileSystemOf } from '../../system/files/file-system.ts';
import { layoutOf } from '../../system/files/paths.ts';
import type { Invocation } from '../command.ts';

/** Reports the login's keyring, how long it lasts, and which keyrings were skipped: a fallback is never silent. */
export async function tellKeyring(
  { ui, environment }: Pick<Invocation, 'ui' | 'environment'>,
  { keyring, tiers }: Pick<LoginResult, 'keyring' | 'tiers'>,
): Promise<void> {
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
  const { home } = layoutOf(environment);
  const { name, kind } = await fileSystemOf(home, environment.platform);
  if (kind === 'memory' || kind === 'layered') {
    const end = kind === 'memory' ? 'at the next boot, or when the container ends' : 'with the container';
    ui.warn(
      `${home} lies on ${name}: the login is gone ${end}.`,
      'To keep it, set HOLDFAST_HOME to a directory on a volume.',
    );
  }
  for (const { id, outcome, reason } of tiers) {
    if (outcome === 'passed-over')
      ui.note(ui.style('dim', `  ${id} was passed over: ${reason ?? 'no reason given'}`));
  }
}
