import { CredentialId } from '../../credential.ts';
import type { RecordAccess, WriteResult } from '../sealed/record-access.ts';
import type { StoredCredential } from '../stored-credential.ts';
import type { Replaced } from './credential-lease.ts';

/* The steps that both kinds of lease share. */

/** The credential as it is stored now, at its former address or under the key that it has moved to. */
export async function locate(
  store: RecordAccess,
  before: StoredCredential,
): Promise<StoredCredential | undefined> {
  const there = await store.reread(before);
  return there ?? (await store.find(CredentialId.ofStored(before.credential)))?.held;
}

export function replaced(result: WriteResult): Replaced {
  return result.outcome === 'written' ? result.stored : result.outcome;
}

export async function quietly<T>(step: Promise<T> | undefined): Promise<T | undefined> {
  try {
    return await step;
  } catch {
    return undefined;
  }
}
