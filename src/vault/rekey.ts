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
 * Re-encrypts the logins with new sealing keys, or moves them to another keyring. After any end, even a crash, each
 * record is readable under one of the two keys, and the next run does the rest.
 */

/** Maximum number of concurrent moves. */
const MOVES_AT_ONCE = 16;

export interface RekeyContext {
  readonly credentialStore: SealedCredentialStore;
  readonly keys: SealingKeys;
  readonly policy: ReusePolicy;
  /** Only the keys of that keyring or tier. */
  readonly keysOf: (keyring: string) => SealingKeys;
  /** The kids of keys that still seal data other than logins. */
  readonly alsoUsed: () => Promise<readonly string[]>;
}

export async function rekey(options: RekeyOptions, context: RekeyContext): Promise<RekeyResult> {
  return options.to === undefined ? renewKeys(options, context) : moveTo(options.to, options, context);
}

/**
 * Makes a new key in each keyring that has one, and seals the records of older keys under it. In a keyring that
 * Holdfast only reads, the first key is the new one.
 */
async function renewKeys(
  { signal }: RekeyOptions,
  { credentialStore, keys, policy, alsoUsed }: RekeyContext,
): Promise<RekeyResult> {
  const result = emptyResult();
  let used: Promise<ReadonlySet<string>> | undefined;
  // Looked up once: records move only to newer keys meanwhile, never to an older one.
  const isUsed = async (kid: string) => (await (used ??= kidsInUse(credentialStore, alsoUsed))).has(kid);
  for await (const { key, retired } of keys.renew(isUsed)) {
    result.keyrings.push(key.keyringId);
    const { held } = await credentialStore.list();
    const old = held.filter((one) => retired.some(({ kid }) => kid === one.key.kid));
    await moveAll(old, key, { credentialStore, policy, signal }, result);
  }
  return finished(result, credentialStore);
}

/** The kids of the keys that seal records, whether or not the records can be opened here. */
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

/** Moves every record that can be opened to the key of that keyring. */
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
      // A record that cannot be moved stays readable in its place, and does not stop the others.
      if (!(error instanceof HoldfastError) || context.signal?.aborted === true) throw error;
      leave(error.message);
    }
  };
  // If a login has records under two keys, the record of the stronger key goes first.
  const byId = new Map<string, StoredCredential[]>();
  for (const one of records) byId.set(one.address.id, [...(byId.get(one.address.id) ?? []), one]);
  await mapBounded([...byId.values()], MOVES_AT_ONCE, async (those) => {
    for (const one of those) await move(one);
  });
}

/**
 * Moves a record under its lease. A running refresh ends first, and waiting outbox answers are written to the record;
 * otherwise they would stay behind.
 */
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
    // A newer login under another key would be hidden by this one under a stronger key.
    const counts = await credentialStore.find(CredentialId.ofStored(current.credential));
    if (counts !== undefined && counts.held.key.kid !== current.key.kid) {
      const { held: newer } = counts;
      const isSuperseded =
        newer.key.keyringId === current.key.keyringId &&
        newer.credential.loggedInAt > current.credential.loggedInAt;
      if (!isSuperseded) return 'occupied';
      // The process that logged in died before it removed this record.
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
