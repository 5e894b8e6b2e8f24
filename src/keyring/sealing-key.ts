import { hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { join } from 'node:path';
import { HoldfastError, KeyringBrokenError } from '../errors.ts';
import type { RecordKey } from '../sealing.ts';
import type { Environment } from '../system/environment.ts';
import { acquireLock, lockKindOf } from '../system/lock.ts';
import type { Layout } from '../system/paths.ts';
import { ensurePrivateDirectories } from '../system/private-directory.ts';
import type { Keyring, Lifetime, Tier, TierReport } from './keyring.ts';
import type { KeyringResolution, UsableKeyring } from './open.ts';

/*
 * The one secret that keyrings hold for us: 32 random bytes that seal the records. A keyring is asked for it once per
 * process, and nothing is made by asking.
 */

/**
 * The item's name in every keyring. Its value is the key in base64url; after a `rekey` also the one before, after a space:
 * what a process sealed that had read the item earlier must open, too.
 */
export const SEALING_KEY_ITEM = 'sealing-key';
const KEY_BYTES = 32;
const KID_BYTES = 16;

/** Making a key takes milliseconds, and a keyring that hangs ends at its own deadline. */
const CREATE_WAIT_MS = 30_000;

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
   * The keys that are there, the strongest keyring's first. A keyring that fails is passed over, and why is in
   * `problems()`.
   *
   * @throws the reason when that keyring was chosen explicitly
   */
  async *reachable(): AsyncGenerator<SealingKey> {
    for await (const usable of this.#resolution.usable()) {
      yield* (await this.#passingOver(usable, () => this.#readOnce(usable))) ?? [];
    }
  }

  /**
   * The key of the strongest keyring that works, made there when it has none. One that opens and then fails at reading
   * or at writing is passed over like one that does not open.
   *
   * @throws the reason when one was chosen explicitly and fails
   */
  async strongest(): Promise<SealingKey> {
    for await (const usable of this.#resolution.usable()) {
      const key = await this.#passingOver(
        usable,
        async () => (await this.#readOnce(usable))[0] ?? (await this.#create(usable)),
      );
      if (key !== undefined) return key;
    }
    throw new KeyringBrokenError('No keyring takes the sealing key.', { hint: 'See: holdfast doctor' });
  }

  /**
   * Makes a new key in each keyring that has one and lasts, the strongest first. The one before stays beside it, and what
   * was sealed under it still opens; of those before that, the ones that `isUsed` says are needed.
   */
  async *renew(
    isUsed: (kid: string) => Promise<boolean>,
  ): AsyncGenerator<{ readonly key: SealingKey; readonly retired: readonly SealingKey[] }> {
    for await (const usable of this.#resolution.usable()) {
      if (usable.lifetime === 'process') continue;
      const renewed = await this.#passingOver(usable, () => this.#renew(usable, isUsed));
      if (renewed !== undefined) yield renewed;
    }
  }

  /**
   * As `lookAgain`, once for each of these keys: what was sealed under one that nobody here has seen yet may be sealed under
   * a stronger key than what is at hand.
   */
  lookAgainFor(kids: readonly string[], readBefore: number): boolean {
    const unseen = kids.filter((kid) => !this.#lookedFor.has(kid));
    for (const kid of unseen) this.#lookedFor.add(kid);
    return unseen.length > 0 && this.lookAgain(readBefore);
  }

  /**
   * Whether keyrings are worth another look, since another process may have made a new key: when what is known of them was
   * read before that moment, on the monotonic clock.
   */
  lookAgain(readBefore: number): boolean {
    const stale = [...this.#read].filter(([, { at }]) => at < readBefore);
    for (const [keyring] of stale) this.#read.delete(keyring);
    return stale.length > 0;
  }

  /** Why keyrings were passed over, the strongest first. */
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

  async #passingOver<T>({ keyring }: UsableKeyring, step: () => Promise<T>): Promise<T | undefined> {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      this.#resolution.passOver(keyring.id, error);
      if (this.#resolution.explicit) throw error;
      return undefined;
    }
  }

  #readOnce(usable: UsableKeyring): Promise<readonly SealingKey[]> {
    const read = this.#read.get(usable.keyring);
    return read === undefined ? this.#remember(usable, readKeys(usable)) : read.keys;
  }

  /** Under a lock, looking again first: of many processes that come first, one makes the key and all use it. */
  async #create(usable: UsableKeyring): Promise<SealingKey> {
    const lock = usable.lifetime === 'process' ? undefined : await this.#lock();
    try {
      const theirs = lock === undefined ? [] : await readKeys(usable);
      return await firstOf(this.#remember(usable, theirs.length > 0 ? theirs : write(usable, [])));
    } finally {
      await lock?.release();
    }
  }

  async #renew(usable: UsableKeyring, isUsed: (kid: string) => Promise<boolean>) {
    const lock = await this.#lock();
    try {
      const [before, ...older] = await readKeys(usable);
      if (before === undefined) return undefined;
      const retired = [before];
      for (const key of older) if (await isUsed(key.kid)) retired.push(key);
      const key = await firstOf(this.#remember(usable, write(usable, retired)));
      return { key, retired };
    } finally {
      await lock.release();
    }
  }

  async #lock() {
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
    return read.keys;
  }
}

async function firstOf(keys: Promise<readonly SealingKey[]>): Promise<SealingKey> {
  const [first] = await keys;
  if (first === undefined)
    throw new KeyringBrokenError('The keyring lost the key that was just written to it.');
  return first;
}

/** Writes a new key before those that are retired, and reads it back. Answers what the keyring then holds. */
async function write(usable: UsableKeyring, retired: readonly SealingKey[]): Promise<readonly SealingKey[]> {
  const { keyring } = usable;
  const bytes = randomBytes(KEY_BYTES);
  const text = [bytes, ...retired.map(({ key }) => Buffer.from(key))]
    .map((key) => key.toString('base64url'))
    .join(' ');
  await keyring.set(SEALING_KEY_ITEM, Buffer.from(text, 'ascii'));
  const made = await readKeys(usable);
  if (made[0] === undefined || !timingSafeEqual(made[0].key, bytes)) {
    throw new KeyringBrokenError(`The keyring ${keyring.id} did not keep what was written to it.`, {
      hint: 'Choose another one, such as --keyring file',
    });
  }
  return made;
}

async function readKeys({ keyring, lifetime }: UsableKeyring): Promise<readonly SealingKey[]> {
  const item = await keyring.get(SEALING_KEY_ITEM);
  if (item === undefined) return [];
  return Buffer.from(item)
    .toString('latin1')
    .split(' ')
    .map((text) => {
      const key = Buffer.from(text, 'base64url');
      if (key.length !== KEY_BYTES || key.toString('base64url') !== text) {
        throw new KeyringBrokenError(
          `The sealing key in the keyring ${keyring.id} is damaged; it is left as it is.`,
          { hint: `Put it back from a backup, or delete the item ${SEALING_KEY_ITEM} and log in again.` },
        );
      }
      return { kid: kidOf(key), key, keyringId: keyring.id, tier: keyring.tier, lifetime };
    });
}

/** Names the key without telling anything of it: derived by HKDF-SHA256 (RFC 5869), never a plain hash. */
function kidOf(key: Uint8Array): string {
  return Buffer.from(hkdfSync('sha256', key, new Uint8Array(0), 'holdfast kid v1', KID_BYTES)).toString(
    'base64url',
  );
}
