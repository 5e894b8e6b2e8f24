import { CredentialId } from '../credential.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import type { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import { HoldfastError, InvalidArgumentError } from '../errors.ts';
import type { SealingKey, SealingKeys } from '../keyring/sealing-key.ts';
import type { ReusePolicy } from '../refresh/reuse-policy.ts';
import { mapBounded } from '../system/bounded-map.ts';
import { summaryOfUndecryptable } from './listing.ts';
import type { RekeyOptions, RekeyResult } from './types.ts';

/*
 * New sealing keys, or another keyring, for the logins that are here. Whenever it ends, by a crash too, each record is
 * readable under one key or the other, and what is left is done by the next run.
 */

/** So many logins are moved at once. */
const MOVES_AT_ONCE = 16;

export interface RekeyContext {
  readonly credentialStore: SealedCredentialStore;
  readonly keys: SealingKeys;
  readonly policy: ReusePolicy;
  /** The keys of that keyring, or tier, alone. */
  readonly keysOf: (keyring: string) => SealingKeys;
  /** The keys of what is sealed and is no login, by `kid`. */
  readonly alsoUsed: () => Promise<readonly string[]>;
}

export async function rekey(options: RekeyOptions, context: RekeyContext): Promise<RekeyResult> {
  return options.to === undefined ? renewKeys(options, context) : moveTo(options.to, options, context);
}

/**
 * A new key in each keyring that has one, and every record of an older one sealed under it. Where others put the keys, the
 * first one is the new one.
 */
async function renewKeys(
  { signal }: RekeyOptions,
  { credentialStore, keys, policy, alsoUsed }: RekeyContext,
): Promise<RekeyResult> {
  const result = emptyResult();
  let used: Promise<ReadonlySet<string>> | undefined;
  // Looked up once: records go to newer keys meanwhile, and never to an older one.
  const isUsed = async (kid: string) => (await (used ??= kidsInUse(credentialStore, alsoUsed))).has(kid);
  for await (const { key, retired } of keys.renew(isUsed)) {
    result.keyrings.push(key.keyringId);
    const { held } = await credentialStore.list();
    const old = held.filter((one) => retired.some(({ kid }) => kid === one.key.kid));
    await moveAll(old, key, { credentialStore, policy, signal }, result);
  }
  return finished(result, credentialStore);
}

/** The keys that a record is sealed under, whether it can be opened from here or not. */
async function kidsInUse(
  credentialStore: SealedCredentialStore,
  alsoUsed: RekeyContext['alsoUsed'],
): Promise<ReadonlySet<string>> {
  const { held, undecryptable } = await credentialStore.list();
  return new Set([
    ...held.map(({ key }) => key.kid),
    ...undecryptable.map(({ kid }) => kid),
    ...(await credentialStore.kidsInOutbox()),
    ...(await alsoUsed()),
  ]);
}

/** Every record that opens, sealed under the key of that keyring. */
async function moveTo(to: string, { signal }: RekeyOptions, context: RekeyContext): Promise<RekeyResult> {
  const { credentialStore, keysOf } = context;
  const target = keysOf(to);
  try {
    const key = await target.strongest();
    if (key.lifetime === 'process') {
      throw new InvalidArgumentError(
        `The keyring ${key.keyringId} ends with this process, and the logins with it.`,
        {
          hint: 'Choose one that lasts: --to native, --to file',
        },
      );
    }
    const result = emptyResult();
    result.keyrings.push(key.keyringId);
    const { held } = await credentialStore.list();
    const others = held.filter((one) => one.key.kid !== key.kid && one.key.lifetime !== 'process');
    await moveAll(others, key, { credentialStore, policy: context.policy, signal }, result);
    return await finished(result, credentialStore);
  } finally {
    await target.close();
  }
}

interface Result {
  readonly keyrings: string[];
  moved: number;
  readonly left: { resource: string; account: string; keyring: string; reason: string }[];
}

function emptyResult(): Result {
  return { keyrings: [], moved: 0, left: [] };
}

interface MoveContext {
  readonly credentialStore: SealedCredentialStore;
  readonly policy: ReusePolicy;
  readonly signal: AbortSignal | undefined;
}

async function moveAll(
  records: readonly StoredCredential[],
  key: SealingKey,
  context: MoveContext,
  result: Result,
): Promise<void> {
  const move = async (held: StoredCredential) => {
    const { resource, account } = held.credential;
    const leave = (reason: string) =>
      result.left.push({ resource, account, keyring: held.key.keyringId, reason });
    try {
      const outcome = await moveOne(held, key, context);
      if (outcome === 'moved') result.moved += 1;
      if (outcome === 'occupied')
        leave(`The keyring ${key.keyringId} has a login of its own to this server.`);
      if (outcome === 'changed') leave('It was changed or removed by another process meanwhile.');
      if (outcome === 'followed')
        leave('Another process took it over meanwhile. Run the same command again.');
    } catch (error) {
      // One that cannot be moved stays readable where it is, and keeps no other from being moved.
      if (!(error instanceof HoldfastError) || context.signal?.aborted === true) throw error;
      leave(error.message);
    }
  };
  // Of one login under two keys, the record of the stronger key goes first.
  const byId = new Map<string, StoredCredential[]>();
  for (const one of records) byId.set(one.address.id, [...(byId.get(one.address.id) ?? []), one]);
  await mapBounded([...byId.values()], MOVES_AT_ONCE, async (those) => {
    for (const one of those) await move(one);
  });
}

/** Under the lease: a refresh under way ends first, and what waits in the outbox is brought home, or it would stay behind. */
async function moveOne(
  held: StoredCredential,
  key: SealingKey,
  { credentialStore, policy, signal }: MoveContext,
): Promise<'moved' | 'removed' | 'occupied' | 'changed' | 'followed'> {
  const lease = credentialStore.lease(held);
  try {
    const current = await lease.begin(await policy.patience(held.credential, signal));
    // Another process has moved it.
    if (current === undefined || current.key.kid !== held.key.kid) return 'changed';
    // A login that was made since, under another key, would be hidden by this one under a stronger key.
    const counts = await credentialStore.find(CredentialId.ofStored(current.credential));
    if (counts !== undefined && counts.held.key.kid !== current.key.kid) {
      const { held: newer } = counts;
      const isSuperseded =
        newer.key.keyringId === current.key.keyringId &&
        newer.credential.loggedInAt > current.credential.loggedInAt;
      if (!isSuperseded) return 'occupied';
      // The process that logged in died before it removed this one.
      return (await lease.remove(current)) ? 'removed' : 'changed';
    }
    const result = await lease.move(current, key);
    return typeof result === 'string' ? result : 'moved';
  } finally {
    await lease.release();
  }
}

async function finished(result: Result, credentialStore: SealedCredentialStore): Promise<RekeyResult> {
  const { undecryptable } = await credentialStore.list();
  return { ...result, undecryptable: undecryptable.map(summaryOfUndecryptable) };
}
