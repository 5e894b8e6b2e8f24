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

/** The item's name in every keyring. */
const ITEM = 'sealing-key';
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
  readonly #read = new Map<Keyring, Promise<SealingKey | undefined>>();

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
      const key = await this.#passingOver(usable, () => this.#readOnce(usable));
      if (key !== undefined) yield key;
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
        async () => (await this.#readOnce(usable)) ?? (await this.#create(usable)),
      );
      if (key !== undefined) return key;
    }
    throw new KeyringBrokenError('No keyring takes the sealing key.', { hint: 'See: holdfast doctor' });
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

  #readOnce(usable: UsableKeyring): Promise<SealingKey | undefined> {
    let read = this.#read.get(usable.keyring);
    if (read === undefined) {
      read = readKey(usable);
      this.#read.set(usable.keyring, read);
    }
    return read;
  }

  /** Under a lock, looking again first: of many processes that come first, one makes the key and all use it. */
  async #create(usable: UsableKeyring): Promise<SealingKey> {
    const { keyring, lifetime } = usable;
    const lock = lifetime === 'process' ? undefined : await this.#lock();
    try {
      const theirs = lock && (await readKey(usable));
      if (theirs !== undefined) return this.#remember(usable, theirs);
      const bytes = randomBytes(KEY_BYTES);
      await keyring.set(ITEM, Buffer.from(bytes.toString('base64url'), 'ascii'));
      const made = await readKey(usable);
      if (made === undefined || !timingSafeEqual(made.key, bytes)) {
        throw new KeyringBrokenError(`The keyring ${keyring.id} did not keep what was written to it.`, {
          hint: 'Choose another one, such as --keyring file',
        });
      }
      return this.#remember(usable, made);
    } finally {
      await lock?.release();
    }
  }

  async #lock() {
    await ensurePrivateDirectories([this.#layout.home, this.#layout.locks], this.#environment);
    return acquireLock(join(this.#layout.locks, 'sealing-key.lock'), {
      waitMs: CREATE_WAIT_MS,
      kind: lockKindOf(this.#environment.variables),
    });
  }

  #remember({ keyring }: UsableKeyring, key: SealingKey): SealingKey {
    this.#read.set(keyring, Promise.resolve(key));
    return key;
  }
}

async function readKey({ keyring, lifetime }: UsableKeyring): Promise<SealingKey | undefined> {
  const item = await keyring.get(ITEM);
  if (item === undefined) return undefined;
  const text = Buffer.from(item).toString('latin1');
  const key = Buffer.from(text, 'base64url');
  if (key.length !== KEY_BYTES || key.toString('base64url') !== text) {
    throw new KeyringBrokenError(
      `The sealing key in the keyring ${keyring.id} is damaged; it is left as it is.`,
      {
        hint: `Put it back from a backup, or delete the item ${ITEM} and log in again.`,
      },
    );
  }
  return { kid: kidOf(key), key, keyringId: keyring.id, tier: keyring.tier, lifetime };
}

/** Names the key without telling anything of it: derived by HKDF-SHA256 (RFC 5869), never a plain hash. */
function kidOf(key: Uint8Array): string {
  return Buffer.from(hkdfSync('sha256', key, new Uint8Array(0), 'holdfast kid v1', KID_BYTES)).toString(
    'base64url',
  );
}
