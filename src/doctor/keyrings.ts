import { randomBytes } from 'node:crypto';
import { HoldfastError, KeyringBrokenError } from '../errors.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { KeyringResolution } from '../keyring/resolve.ts';
import type { SealingKeys } from '../keyring/sealing-key.ts';
import type { Environment } from '../system/environment.ts';
import type { Layout } from '../system/files/paths.ts';
import { type Finding, failed, failureOf, ok, warning } from './finding.ts';

/** Tries every keyring of the list. The one that would be used also has to store, return and remove an item. */
export async function keyrings(resolution: KeyringResolution, keys: SealingKeys): Promise<Finding[]> {
  const findings: Finding[] = [];
  const choice = await resolution.choice();
  if (resolution.explicit) {
    const isGiven = resolution.reports().some(({ id, tier }) => id === choice && tier === 'shared');
    const says = `${isGiven ? 'its variable is set, or ' : ''}--keyring, HOLDFAST_KEYRING or config.json says so`;
    findings.push(ok('keyring', `Only ${choice} is considered: ${says}.`));
  }
  try {
    findings.push(...(await serving(resolution, keys)));
  } catch (error) {
    return [...findings, failureOf('keyring', error, findings)];
  }
  for (const { id, outcome, status, reason, hint } of resolution.reports()) {
    if (outcome !== 'passed-over') continue;
    const message = `${id} is passed over${status === 'usable' ? '' : ` (${status})`}: ${reason}`;
    findings.push(
      status === 'absent' || status === 'usable'
        ? { ...ok('keyring', message), hint }
        : warning('keyring', message, hint),
    );
  }
  return findings;
}

/** The keyring that would seal new logins. */
async function serving(resolution: KeyringResolution, keys: SealingKeys): Promise<Finding[]> {
  // A keyring that opens is of no use if its sealing key does not.
  for await (const _key of keys.reachable()) {
    // `keys` skips the keyrings that fail.
  }
  for await (const { keyring, lifetime } of resolution.usable()) {
    if (keyring.readOnly === true) {
      const message = `New logins are sealed under the key that ${keyring.id} gives; Holdfast only reads it.`;
      return [ok('keyring', message)];
    }
    const problem = await testKeyring(keyring);
    if (problem !== undefined) {
      resolution.refusedSecret(keyring.id, problem);
      continue;
    }
    if (lifetime !== 'process') {
      const message = `New logins are sealed under a key in ${keyring.id}; an item was kept, read and removed there.`;
      return [ok('keyring', message)];
    }
    return [
      failed(
        'keyring',
        'Only memory is left: no login survives its process.',
        'Mend one of the keyrings below, or set HOLDFAST_HOME to a directory that can be written.',
      ),
    ];
  }
  return [];
}

/** Uses a random item name: two concurrent runs must not remove each other's item. */
async function testKeyring(keyring: Keyring): Promise<HoldfastError | undefined> {
  const name = `doctor-${randomBytes(6).toString('hex')}`;
  const written = randomBytes(32);
  try {
    try {
      await keyring.set(name, written);
      const found = await keyring.get(name);
      if (found !== undefined && written.equals(found)) return undefined;
      return new KeyringBrokenError('It gave back something else than was written.', {
        hint: 'Choose another one, such as --keyring file',
      });
    } finally {
      await keyring.delete(name);
    }
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
}

/** Reports the source of the file keyring's passphrase: it decides who can open the records that the keyring seals. */
export async function passphrase(
  layout: Layout,
  environment: Environment,
  resolution: KeyringResolution,
): Promise<Finding[]> {
  const report = resolution.reports().find(({ id }) => id === 'file');
  if (report === undefined || report.outcome === 'not-tried') return [];
  const { readPassphrase } = await import('../keyring/file/passphrase.ts');
  try {
    const found = await readPassphrase(layout, environment);
    if (found === undefined) return [];
    const { source } = found;
    return [
      ok('passphrase', `The file keyring is opened by ${source}: who can read that can open the logins.`),
    ];
  } catch (error) {
    // The report on the skipped file keyring already shows this error.
    if (error instanceof HoldfastError) return [];
    throw error;
  }
}
