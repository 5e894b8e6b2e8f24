import { hkdfSync } from 'node:crypto';
import { join } from 'node:path';
import { HoldfastError, InvalidArgumentError, KeyringBrokenError } from '../errors.ts';
import type { RecordKey } from '../sealing.ts';
import type { Environment } from '../system/environment.ts';
import type { Layout } from '../system/files/paths.ts';
import { ensurePrivateDirectories } from '../system/files/private-directory.ts';
import { acquireLock, lockKindOf } from '../system/locks/lock.ts';
import type { UsableKeyring } from './candidate.ts';
import { keyText, newSealingKey, SEALING_KEY_ITEM, writtenKeys } from './key-text.ts';
import type { Keyring, Lifetime, Tier, TierReport } from './keyring.ts';
import type { KeyringResolution } from './resolve.ts';

/*
 * The one secret that Holdfast stores in keyrings: 32 random bytes that seal the records. Each process reads it once
 * from a keyring of this machine, and a read creates nothing. After a `rekey`, the item also holds the earlier keys, so
 * that records of a process that had read an earlier key still open.
 */

const KID_BYTES = 16;

/**
 * Time limit for the lock, in milliseconds. Key creation takes milliseconds, and a hanging keyring has its own
 * deadline.
 */
const CREATE_WAIT_MS = 30_000;

/** Retry limit for races between machines that write keys to a shared keyring. */
const WRITE_ATTEMPTS = 10;

/**
 * Number of newest retired keys that a shared keyring retains even if unused. A process on another machine may seal
 * under an old key for as long as it caches the keyring.
 */
const KEPT_WHERE_SHARED = 20;

export interface SealingKey extends RecordKey {
  readonly keyringId: string;
  readonly tier: Tier;
  readonly lifetime: Lifetime;
}

export class SealingKeys {
  readonly #resolution: KeyringResolution;
  readonly #layout: Layout;
  readonly #environment: Environment;
  readonly #read = new Map<Keyring, { readonly at: number; readonly keys: Promise<readonly SealingKey[]> }>();

  readonly #lookedFor = new Set<string>();

  constructor(resolution: KeyringResolution, layout: Layout, environment: Environment) {
    this.#resolution = resolution;
    this.#layout = layout;
    this.#environment = environment;
  }

  /**
   * The existing keys, the strongest keyring's first. A failing keyring is skipped, and `problems()` gives the reason.
   *
   * @throws the reason when the user chose that keyring explicitly
   */
  async *reachable(): AsyncGenerator<SealingKey> {
    for await (const usable of this.#resolution.usable()) {
      yield* (await this.#skipping(usable, () => this.#readOnce(usable))) ?? [];
    }
  }

  /**
   * The key of the strongest working keyring; created there if none exists. A keyring that opens but then fails at a
   * read or write is skipped, like one that does not open.
   *
   * @throws the reason when the user chose a keyring explicitly and it fails
   */
  async strongest(): Promise<SealingKey> {
    for await (const usable of this.#resolution.usable()) {
      const keys = await this.#skipping(usable, () => this.#readOnce(usable));
      if (keys === undefined) continue;
      if (keys[0] !== undefined) return keys[0];
      if (!this.#resolution.mayTakeSecrets(usable.keyring.id)) continue;
      const made = await this.#writing(usable, () => this.#create(usable));
      if (!(made instanceof HoldfastError)) return made;
    }
    const [why] = this.problems();
    throw (
      why ?? new KeyringBrokenError('No keyring takes the sealing key.', { hint: 'See: holdfast doctor' })
    );
  }

  /**
   * Makes a new key in each keyring that has one and lasts, the strongest first. The previous key stays next to it, so
   * its records still open. Of the older keys, those stay that `isUsed` reports as needed. In a read-only keyring, the
   * first key counts as the new one.
   *
   * @throws InvalidArgumentError when the keyring is read-only and has just one key
   * @throws the reason when keys exist, and no keyring accepts a new one
   */
  async *renew(
    isUsed: (kid: string) => Promise<boolean>,
  ): AsyncGenerator<{ readonly key: SealingKey; readonly retired: readonly SealingKey[] }> {
    let any = false;
    let refusal: HoldfastError | undefined;
    for await (const usable of this.#resolution.usable()) {
      if (usable.lifetime === 'process') continue;
      const found = await this.#skipping(usable, () => readKeys(usable));
      if (found === undefined || found.length === 0) continue;
      const renewed = await this.#writing(usable, () => this.#renew(usable, isUsed));
      if (renewed instanceof HoldfastError) {
        refusal ??= renewed;
      } else if (renewed !== undefined) {
        any = true;
        yield renewed;
      }
    }
    if (!any && refusal !== undefined) throw refusal;
  }

  /**
   * Like `lookAgain`, but only once for each kid. An unknown kid may belong to a stronger key than those already read.
   */
  lookAgainFor(kids: readonly string[], readBefore: number): boolean {
    const unseen = kids.filter((kid) => !this.#lookedFor.has(kid));
    for (const kid of unseen) this.#lookedFor.add(kid);
    return unseen.length > 0 && this.lookAgain(readBefore);
  }

  /**
   * Drops cached keys that were read before that moment, since another process may have made a new key.
   *
   * @param readBefore in milliseconds on the monotonic clock
   * @returns whether any were dropped, so that another read may find more
   */
  lookAgain(readBefore: number): boolean {
    const stale = [...this.#read].filter(
      ([keyring, { at }]) => keyring.forget?.(readBefore) ?? at < readBefore,
    );
    for (const [keyring] of stale) this.#read.delete(keyring);
    return stale.length > 0;
  }

  /** Why keyrings were skipped, the strongest first. */
  problems(): readonly HoldfastError[] {
    return this.#resolution.problems();
  }

  reports(): readonly TierReport[] {
    return this.#resolution.reports();
  }

  async close(): Promise<void> {
    this.#read.clear();
    await this.#resolution.close();
  }

  async #skipping<T>({ keyring }: UsableKeyring, step: () => Promise<T>): Promise<T | undefined> {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      this.#resolution.passOver(keyring.id, error);
      if (this.#resolution.explicit) throw error;
      return undefined;
    }
  }

  /** Like `#skipping`, for writes: a failed write says nothing about the stored items, so the error is returned. */
  async #writing<T>({ keyring }: UsableKeyring, step: () => Promise<T>): Promise<T | HoldfastError> {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      this.#resolution.refusedSecret(keyring.id, error);
      if (this.#resolution.explicit) throw error;
      return error;
    }
  }

  #readOnce(usable: UsableKeyring): Promise<readonly SealingKey[]> {
    const read = usable.keyring.forget === undefined ? this.#read.get(usable.keyring) : undefined;
    return read === undefined ? this.#remember(usable, readKeys(usable)) : read.keys;
  }

  /** Reads again under a lock, then writes: among many first processes, one makes the key and all use it. */
  async #create(usable: UsableKeyring): Promise<SealingKey> {
    const lock = await this.#lockFor(usable);
    try {
      const theirs = lock === undefined ? [] : await readKeys(usable);
      return await firstOf(this.#remember(usable, theirs.length > 0 ? theirs : writeFirst(usable)));
    } finally {
      await lock?.release();
    }
  }

  async #renew(usable: UsableKeyring, isUsed: (kid: string) => Promise<boolean>) {
    if (usable.keyring.readOnly === true) return this.#renewedByOthers(usable);
    const lock = await this.#lockFor(usable);
    try {
      for (let attempt = 0; attempt < WRITE_ATTEMPTS; attempt += 1) {
        const found = await readKeys(usable);
        const [before, ...older] = found;
        if (before === undefined) return undefined;
        const isShared = usable.keyring.setIf !== undefined;
        const retired = [before];
        for (const key of older) {
          if ((isShared && retired.length < KEPT_WHERE_SHARED) || (await isUsed(key.kid))) retired.push(key);
        }
        const made = await write(usable, found, retired);
        // If another machine wrote first, read its keys and add a new one to them.
        if (made !== undefined) return { key: await firstOf(this.#remember(usable, made)), retired };
      }
      throw raced(usable);
    } finally {
      await lock?.release();
    }
  }

  async #renewedByOthers(usable: UsableKeyring) {
    const [key, ...retired] = await this.#remember(usable, readKeys(usable));
    if (key !== undefined && retired.length > 0) return { key, retired };
    const { id } = usable.keyring;
    throw new InvalidArgumentError(
      `The keyring ${id} has one key, and Holdfast cannot make another one there.`,
      {
        hint: 'Put a new key (holdfast key new) before the one that is there, and keep that one; then try again.',
      },
    );
  }

  /** No lock if only this process writes, or if the keyring itself compares and sets. */
  async #lockFor({ keyring, lifetime }: UsableKeyring) {
    if (lifetime === 'process' || keyring.setIf !== undefined) return undefined;
    await ensurePrivateDirectories([this.#layout.home, this.#layout.locks], this.#environment);
    return acquireLock(join(this.#layout.locks, 'sealing-key.lock'), {
      waitMs: CREATE_WAIT_MS,
      kind: lockKindOf(this.#environment.variables),
    });
  }

  #remember(
    { keyring }: UsableKeyring,
    keys: readonly SealingKey[] | Promise<readonly SealingKey[]>,
  ): Promise<readonly SealingKey[]> {
    const read = { at: performance.now(), keys: Promise.resolve(keys) };
    this.#read.set(keyring, read);
    // A failed read is not cached: the keyring is read again when its turn comes.
    read.keys.catch(() => this.#read.get(keyring) === read && this.#read.delete(keyring));
    return read.keys;
  }
}

async function firstOf(keys: Promise<readonly SealingKey[]>): Promise<SealingKey> {
  const [first] = await keys;
  if (first === undefined)
    throw new KeyringBrokenError('The keyring lost the key that was just written to it.');
  return first;
}

/** Makes the first key of a keyring. If another machine made one in the meantime, uses that key. */
async function writeFirst(usable: UsableKeyring): Promise<readonly SealingKey[]> {
  for (let attempt = 0; attempt < WRITE_ATTEMPTS; attempt += 1) {
    const made = (await write(usable, [], [])) ?? (await readKeys(usable));
    if (made.length > 0) return made;
  }
  throw raced(usable);
}

/**
 * Writes a new key in front of the retired keys, and reads the item back.
 *
 * @param found the keyring's last known keys
 * @returns the keyring's keys after the write; `undefined` if the keyring held other keys than `found`, so nothing was
 *   written
 */
async function write(
  usable: UsableKeyring,
  found: readonly SealingKey[],
  retired: readonly SealingKey[],
): Promise<readonly SealingKey[] | undefined> {
  const { keyring } = usable;
  const key = newSealingKey();
  const item = itemOf([key, ...retired.map((one) => one.key)]);
  if (keyring.setIf === undefined) {
    await keyring.set(SEALING_KEY_ITEM, item);
  } else {
    const expected = found.length === 0 ? undefined : itemOf(found.map((one) => one.key));
    if (!(await keyring.setIf(SEALING_KEY_ITEM, expected, item))) return undefined;
  }
  const made = await readKeys(usable);
  // The first key may differ from ours. If another machine wrote after us, use its key: no lock here stops it.
  if (made[0] === undefined || made[0].kid === found[0]?.kid) {
    throw new KeyringBrokenError(`The keyring ${keyring.id} did not keep what was written to it.`, {
      hint: 'Choose another one, such as --keyring file',
    });
  }
  return made;
}

function itemOf(keys: readonly Uint8Array[]): Buffer {
  return Buffer.from(keyText(keys), 'ascii');
}

function raced({ keyring }: UsableKeyring): KeyringBrokenError {
  return new KeyringBrokenError(
    `The keyring ${keyring.id} was changed by others each time that it was to be written.`,
    {
      hint: 'See which program writes it, then try again.',
    },
  );
}

async function readKeys({ keyring, lifetime }: UsableKeyring): Promise<readonly SealingKey[]> {
  const item = await keyring.get(SEALING_KEY_ITEM);
  if (item === undefined) return [];
  const keys = writtenKeys(Buffer.from(item).toString('latin1'));
  if (keys === undefined) {
    throw new KeyringBrokenError(
      `The sealing key in the keyring ${keyring.id} is damaged; it is left as it is.`,
      { hint: `Put it back from a backup, or delete the item ${SEALING_KEY_ITEM} and log in again.` },
    );
  }
  return keys.map((key) => ({ kid: kidOf(key), key, keyringId: keyring.id, tier: keyring.tier, lifetime }));
}

/** Names the key without revealing it: derived by HKDF-SHA256 (RFC 5869), never a plain hash. */
function kidOf(key: Uint8Array): string {
  return Buffer.from(hkdfSync('sha256', key, new Uint8Array(0), 'holdfast kid v1', KID_BYTES)).toString(
    'base64url',
  );
}
