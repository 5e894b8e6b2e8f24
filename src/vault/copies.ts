import type { CredentialStore, StoredCredential } from '../credentials/credential-store.ts';
import { quote } from '../quote.ts';
import { takingTurns } from '../system/os/machine-note.ts';

/* Logins that two machines use, each in a copy of the home directory that something syncs between them. */

/** Maps a credential to the host names of its two machines. */
export async function copiesAmong(
  held: readonly StoredCredential[],
  store: Pick<CredentialStore, 'machines'>,
): Promise<ReadonlyMap<StoredCredential, readonly [string, string]>> {
  const now = Date.now();
  const copies = new Map<StoredCredential, readonly [string, string]>();
  for (const one of held) {
    const hosts = takingTurns(await store.machines(one), now);
    if (hosts !== undefined) copies.set(one, hosts);
  }
  return copies;
}

/**
 * Explains what happened and what to do.
 *
 * @param login its URL and account
 */
export function copiesWarning(login: string, [one, other]: readonly [string, string]): [string, string] {
  return [
    `Two machines, ${quote(one)} and ${quote(other)}, use copies of the login to ${login} at the same time. Where the server accepts a refresh token once, they log each other out.`,
    'Stop copying this directory between them. On one of the two, set HOLDFAST_HOME to another directory, and log in there: holdfast login URL',
  ];
}
