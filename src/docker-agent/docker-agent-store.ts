import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type Credential, canonicalResource, DEFAULT_ACCOUNT, recordId } from '../credential.ts';
import { parseCredential, serializeCredential } from '../credential-record.ts';
import { HoldfastError, InvalidArgumentError, KeyUnavailableError } from '../errors.ts';
import type { KeyringResolution } from '../keyring/resolve.ts';
import type { SealingKey, SealingKeys } from '../keyring/sealing-key.ts';
import { seal } from '../sealing.ts';
import { DirectoryStore } from '../store/directory.ts';
import type {
  CasResult,
  Durability,
  Lease,
  LeaseOptions,
  RecordAddress,
  RecordIndex,
  RecordVersion,
  Reservation,
} from '../store/record-store.ts';
import type { Environment } from '../system/environment.ts';
import { reserveSpace, stageFile, writeFileAtomically } from '../system/files/atomic-file.ts';
import type { DockerAgentLayout } from '../system/files/paths.ts';
import { ensurePrivateDirectories } from '../system/files/private-directory.ts';
import { shellPath } from '../system/files/storage-error.ts';
import { type Bundle, endsOf, openBundle, sealBundle, stampOf } from './bundle.ts';
import { belongs, credentialOf, entryOf, type State, serializeStates, stateFor } from './entry.ts';
import { oldLayouts, readBundleFile, readBundleStamp, removeOldLayouts, underLock } from './files.ts';
import { isOfAnEntry, Sidecar } from './sidecar.ts';

/** The bundle, and the key that opened it. */
interface Opened {
  readonly key: SealingKey;
  readonly bundle: Bundle;
  /** Maps a record id to the URL, in docker-agent's spelling. */
  readonly urls: ReadonlyMap<string, string>;
  readonly stamp: string;
}

/** A credential that is an entry of the bundle. */
export interface DockerAgentEntry {
  /** The kid of the key that seals the whole bundle. */
  readonly kid: string;
  readonly credential: Credential;
  readonly version: RecordVersion;
}

/**
 * Uses docker-agent's own files as a store: each entry of its one sealed bundle is a credential. Only this store sees
 * plaintext, because docker-agent keeps all entries in one file.
 *
 * A directory store of ours holds everything else, sealed under the same key: the rest of each entry's credential
 * (sidecar.ts), whole records of other accounts, and the leases.
 *
 * This store never overwrites a bundle that it cannot open.
 */
export class DockerAgentStore implements RecordIndex {
  readonly id = 'docker-agent';
  readonly #files: DockerAgentLayout;
  readonly #environment: Environment;
  readonly #keys: SealingKeys;
  readonly #resolution: KeyringResolution;
  /** Whole records of other accounts: docker-agent knows only one login to a server. */
  readonly others: DirectoryStore;
  readonly #sidecar: Sidecar;
  readonly #lockWaitMs: number | undefined;
  #opened: Opened | undefined;
  #lookedForOld = false;

  constructor(parts: {
    files: DockerAgentLayout;
    environment: Environment;
    keys: SealingKeys;
    resolution: KeyringResolution;
    /** Time limit for docker-agent's lock, in milliseconds. Default: that of `underLock`. */
    lockWaitMs?: number | undefined;
  }) {
    this.#files = parts.files;
    this.#environment = parts.environment;
    this.#keys = parts.keys;
    this.#resolution = parts.resolution;
    this.others = new DirectoryStore(parts.files.layout, parts.environment);
    this.#sidecar = new Sidecar(this.others);
    this.#lockWaitMs = parts.lockWaitMs;
  }

  /** Returns the bundle's credential with that record id, whatever key seals the bundle. */
  async entry(id: string): Promise<DockerAgentEntry | undefined> {
    const opened = await this.#open();
    const url = opened?.urls.get(id);
    if (opened === undefined || url === undefined) return undefined;
    const states = await this.#sidecar.states(opened.key, id);
    const entry = opened.bundle.get(url);
    // Another program writes the file, so the entry is checked like a record.
    const credential = parseCredential(serializeCredential(credentialOf(url, entry, states)));
    return { kid: opened.key.kid, credential, version: versionOf(entry, states) };
  }

  async version(address: RecordAddress): Promise<RecordVersion | undefined> {
    return this.#version(await this.#open(), address);
  }

  /**
   * Writes the credential as an entry if the current one has the expected version (`undefined`: if there is no entry).
   *
   * @param record the same credential, sealed as a record of ours. Until the bundle has the new tokens, this copy is
   *   the only one; after a crash, the next process recovers it
   */
  async putEntry(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    { credential, key, record }: { credential: Credential; key: SealingKey; record: string },
  ): Promise<Exclude<CasResult, { outcome: 'unknown' | 'followed' }>> {
    await this.#open();
    const { home, temporary } = this.#files.layout;
    await ensurePrivateDirectories([home, temporary], this.#environment);
    const staging = stageFile(join(temporary, `${address.id}.jwe`), Buffer.from(record, 'latin1'), temporary);
    staging.catch(() => {});
    try {
      return await this.#locked(async () => {
        const opened = await this.#read();
        if (opened !== undefined && opened.key.kid !== key.kid) throw this.#sealedElsewhere(opened.key, key);
        if ((await this.#version(opened, address)) !== expected) return { outcome: 'conflict' };
        const url = opened?.urls.get(address.id) ?? credential.resource;
        const before = opened?.bundle.get(url);
        const entry = entryOf(credential, before);
        const former = (await this.#sidecar.states(key, address.id)).find((state) => belongs(before, state));
        const states = [stateFor(credential), ...(former === undefined ? [] : [former])];
        await staging;
        await this.#sidecar.write(key, address.id, states);
        if (JSON.stringify(entry) !== JSON.stringify(before)) {
          await this.#write(new Map([...(opened?.bundle ?? []), [url, entry]]), key);
        }
        return { outcome: 'ok', version: versionOf(entry, states) };
      });
    } finally {
      await staging.then(
        (staged) => staged.discard(),
        () => {},
      );
    }
  }

  async remove(address: RecordAddress, expected?: RecordVersion): Promise<boolean> {
    if ((await this.#open())?.urls.has(address.id) !== true) return this.others.remove(address, expected);
    return this.#locked(async () => {
      const opened = await this.#read();
      const url = opened?.urls.get(address.id);
      if (opened === undefined || url === undefined || opened.key.kid !== address.kid) return false;
      if (expected !== undefined && (await this.#version(opened, address)) !== expected) return false;
      await this.#write(new Map([...opened.bundle].filter(([name]) => name !== url)), opened.key);
      await this.#sidecar.remove(opened.key, address.id);
      return true;
    });
  }

  /** @throws InvalidArgumentError always: the bundle is sealed under docker-agent's one key */
  checkRekeyable(): never {
    throw new InvalidArgumentError('docker-agent has one key, which Holdfast does not replace.', {
      hint: 'Rekey Holdfast’s own store: leave --store docker-agent and HOLDFAST_STORE out.',
    });
  }

  async quarantine(address: RecordAddress): Promise<string | undefined> {
    const opened = await this.#open();
    const url = opened?.urls.get(address.id);
    if (opened === undefined || url === undefined) return this.others.quarantine(address);
    // Changes this entry only.
    const aside = { kid: opened.key.kid, id: `${address.id}-entry` };
    const copy = Buffer.from(JSON.stringify({ url, entry: opened.bundle.get(url) }), 'utf8');
    await this.others.cas(aside, undefined, seal(copy, opened.key, aside.id));
    const path = await this.others.quarantine(aside);
    return (await this.remove(
      address,
      versionOf(opened.bundle.get(url), await this.#sidecar.states(opened.key, address.id)),
    ))
      ? path
      : undefined;
  }

  async list(): Promise<RecordAddress[]> {
    const opened = await this.#open();
    const entries = [...(opened?.urls.keys() ?? [])].map((id) => ({ kid: opened?.key.kid ?? '', id }));
    const others = (await this.others.list()).filter(
      (address) => !isOfAnEntry(address) && opened?.urls.has(address.id) !== true,
    );
    return [...entries, ...others];
  }

  async kidsOf(id: string): Promise<string[]> {
    const opened = await this.#open();
    return opened?.urls.has(id) === true ? [opened.key.kid] : this.others.kidsOf(id);
  }

  lock(id: string, options: LeaseOptions): Promise<Lease> {
    return this.others.lock(id, options);
  }

  locked(id: string): Promise<boolean> {
    return this.others.locked(id);
  }

  /** Reserves room for the sidecar and for the whole bundle once more, because each change rewrites it. */
  async reserve(): Promise<Reservation> {
    const ours = await this.others.reserve();
    try {
      const size = (await this.#bytes())?.length ?? 0;
      const bundle = await reserveSpace(this.#files.layout.temporary, size + 16 * 1024);
      return {
        release: async () => {
          await Promise.all([ours.release(), bundle.release()]);
        },
      };
    } catch (error) {
      await ours.release();
      throw error;
    }
  }

  async selfTest(): Promise<void> {
    await this.#open();
    await this.others.selfTest();
  }

  durability(): Durability {
    return 'disk';
  }

  close(): Promise<void> {
    return this.others.close();
  }

  /**
   * Returns docker-agent's own entries, by the URL in its spelling. It changes nothing: an older layout is read in
   * place. Throws the errors of opening the token file.
   */
  async entries(): Promise<Bundle> {
    return (await this.#read())?.bundle ?? (await oldLayouts(this.#resolution))?.bundle ?? new Map();
  }

  /**
   * Removes an entry and its sidecar, under docker-agent's lock.
   *
   * @param isWanted whether the entry, in its current state, is still the one that the caller means
   */
  async takeOut(url: string, isWanted: (entry: unknown) => boolean): Promise<'taken' | 'changed' | 'gone'> {
    await this.#open();
    return this.#locked(async () => {
      const opened = await this.#read();
      if (opened === undefined || !opened.bundle.has(url)) return 'gone';
      if (!isWanted(opened.bundle.get(url))) return 'changed';
      await this.#write(new Map([...opened.bundle].filter(([name]) => name !== url)), opened.key);
      const [id] = [...opened.urls].find(([, name]) => name === url) ?? [];
      if (id !== undefined) await this.#sidecar.remove(opened.key, id);
      return 'taken';
    });
  }

  /** Returns the current bundle. Like docker-agent itself, it first moves an older layout into the file. */
  async #open(): Promise<Opened | undefined> {
    const opened = await this.#read();
    if (opened !== undefined || this.#lookedForOld) return opened;
    const old = await oldLayouts(this.#resolution);
    if (old !== undefined) {
      const key = await this.#keys.strongest();
      // Only a persistent key may seal the file: the tokens of the older layout are persistent too.
      if (key.lifetime === 'process') return undefined;
      await this.#locked(async () => {
        // Another process was first: its file is newer than anything in the keyring.
        const now = await this.#read();
        if (now !== undefined && now.key.kid !== key.kid) throw this.#sealedElsewhere(now.key, key);
        await this.#write(new Map([...old.bundle, ...(now?.bundle ?? [])]), key);
      });
      await removeOldLayouts(old);
    }
    this.#lookedForOld = true;
    return this.#read();
  }

  #bytes(): Promise<Buffer | undefined> {
    return readBundleFile(this.#files, this.#environment);
  }

  async #read(): Promise<Opened | undefined> {
    const stamp = await readBundleStamp(this.#files, this.#environment);
    if (stamp === undefined) return undefined;
    if (this.#opened?.stamp === stamp) return this.#opened;
    const bytes = await this.#bytes();
    if (bytes === undefined) return undefined;
    const begin = performance.now();
    do {
      for await (const key of this.#keys.reachable()) {
        const bundle = openBundle(bytes, key.key);
        if (bundle === undefined) continue;
        this.#opened = { key, bundle, urls: urlsOf(bundle), stamp: stampOf(endsOf(bytes)) };
        return this.#opened;
      }
      // docker-agent, or another Holdfast process, may have made the key since.
    } while (this.#keys.lookAgain(begin));
    throw await this.#undecryptable();
  }

  async #undecryptable(): Promise<HoldfastError> {
    const path = shellPath(this.#files.bundle);
    const [problem] = this.#keys.problems();
    let tried = '';
    for await (const key of this.#keys.reachable()) tried = ` that the keyring ${key.keyringId} holds`;
    return new KeyUnavailableError(
      tried === ''
        ? `docker-agent’s tokens in ${path} are sealed under a key that cannot be read now. ${problem?.message ?? 'No keyring holds it.'}`
        : `docker-agent’s tokens in ${path} do not open with the key${tried}: they are sealed under another one, or damaged.`,
      {
        cause: problem,
        hint: `${problem?.hint ?? 'Run Holdfast where docker-agent made its logins: in the same desktop session, or with its files.'} The file is left as it is; to start anew, move it aside: mv ${path} ${shellPath(`${this.#files.bundle}.old`)}`,
      },
    );
  }

  async #version(opened: Opened | undefined, address: RecordAddress): Promise<RecordVersion | undefined> {
    const url = opened?.urls.get(address.id);
    if (opened === undefined || url === undefined) return this.others.version(address);
    if (opened.key.kid !== address.kid) return undefined;
    return versionOf(opened.bundle.get(url), await this.#sidecar.states(opened.key, address.id));
  }

  async #write(bundle: Bundle, key: SealingKey): Promise<void> {
    const { layout, bundle: path } = this.#files;
    await writeFileAtomically(path, sealBundle(bundle, key.key), { temporary: layout.temporary });
  }

  #locked<T>(step: () => Promise<T>): Promise<T> {
    return underLock(this.#files, this.#environment, step, this.#lockWaitMs);
  }

  #sealedElsewhere(theirs: SealingKey, ours: SealingKey): KeyUnavailableError {
    return new KeyUnavailableError(
      `docker-agent’s tokens are sealed under the key in the keyring ${theirs.keyringId}, and not that in ${ours.keyringId}.`,
      { hint: `Nothing was written. Use the one that they are sealed under: --keyring ${theirs.keyringId}` },
    );
  }
}

/**
 * Skips a URL that no client of ours could ask for; only docker-agent uses it. Prefers the canonical of two spellings.
 */
function urlsOf(bundle: Bundle): ReadonlyMap<string, string> {
  const urls = new Map<string, string>();
  for (const url of bundle.keys()) {
    try {
      const resource = canonicalResource(url);
      const id = recordId(resource, DEFAULT_ACCOUNT);
      if (url === resource || !urls.has(id)) urls.set(id, url);
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
    }
  }
  return urls;
}

/**
 * Covers the entry and the state that belongs to it. A state written for a future entry does not change the version.
 */
function versionOf(entry: unknown, states: readonly State[]): RecordVersion {
  const state = states.find((one) => belongs(entry, one)) ?? states[0];
  return createHash('sha256')
    .update(JSON.stringify(entry) ?? '')
    .update('\0')
    .update(state === undefined ? '' : serializeStates([state]))
    .digest('base64url');
}
