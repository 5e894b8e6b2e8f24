import { randomBytes } from 'node:crypto';
import type { Credential, CredentialId } from '../../credential.ts';
import { parseCredential, serializeCredential } from '../../credential-record.ts';
import {
  HoldfastError,
  RecordDamagedError,
  StorageUnwritableError,
  StoreUnreachableError,
} from '../../errors.ts';
import type { SealingKey } from '../../keyring/sealing-key.ts';
import { seal, unseal } from '../../sealing.ts';
import type {
  RecordAddress,
  RecordStore,
  RecordVersion,
  StoredRecord,
  WriteOptions,
} from '../../store/record-store.ts';
import { mapBounded } from '../../system/bounded-map.ts';
import { type Moment, thisMoment } from '../../system/clock.ts';
import { dueInMs, redated, tokenAge } from '../token-age.ts';
import type { CredentialRecords, ReadCredential, RecordWrite } from './credential-records.ts';
import { damaged } from './sealed-errors.ts';

/** Maximum number of concurrent reads, if the store needs a query for each record. */
const READS_AT_ONCE = 16;

/** One sealing of a state. Every retry of its write uses it again, so that the retry is recognised. */
interface Draft {
  readonly kid: string;
  readonly record: string;
  readonly version: RecordVersion;
}

/** Stores credentials as sealed records. */
export class SealedRecords implements CredentialRecords {
  readonly index: RecordStore;
  readonly #drafts = new WeakMap<Credential, Draft>();

  constructor(store: RecordStore) {
    this.index = store;
  }

  async read(
    address: RecordAddress,
    key: SealingKey,
    id: CredentialId | undefined,
  ): Promise<ReadCredential | undefined> {
    // Taken before the read: a token may then look older than it is, but never younger.
    const asked = thisMoment();
    const found = await this.index.read(address);
    return found && this.#opened(found, address.id, key, asked, id);
  }

  async readMany(
    addresses: readonly RecordAddress[],
    key: SealingKey,
    id: CredentialId | undefined,
  ): Promise<readonly (ReadCredential | HoldfastError | undefined)[]> {
    const asked = thisMoment();
    const found = await this.#foundAtOnce(addresses);
    if (found === undefined) {
      return mapBounded(addresses, READS_AT_ONCE, (address) =>
        this.read(address, key, id).catch(problemOfOne),
      );
    }
    return addresses.map((address, at) => {
      const record = found[at];
      if (record === undefined) return undefined;
      try {
        return this.#opened(record, address.id, key, asked, id);
      } catch (error) {
        return problemOfOne(error);
      }
    });
  }

  async write(
    address: RecordAddress,
    key: SealingKey,
    expected: RecordVersion | undefined,
    credential: Credential,
    {
      lease,
      onlyIfLast,
      onlyIfUnsentSince,
    }: Pick<WriteOptions, 'lease' | 'onlyIfLast' | 'onlyIfUnsentSince'>,
  ): Promise<RecordWrite> {
    const { record, version } = this.#draft(address.id, key, credential);
    const options = { ...timesOf(credential), lease, version, onlyIfLast, onlyIfUnsentSince };
    const result = await this.index.cas(address, expected, record, options);
    if (result.outcome === 'ok') return { outcome: 'written', version: result.version };
    if (result.outcome === 'followed') return result;
    // An earlier try may have succeeded, or this one may have without an answer.
    const found = await this.index.read(address);
    if (found?.record === record) return { outcome: 'written', version: found.version };
    if (result.outcome === 'conflict' || found?.version !== expected) return { outcome: 'changed' };
    throw new StorageUnwritableError(
      'The store broke off while it wrote, and the record is as it was before.',
      { cause: result.cause, hint: 'Try again.' },
    );
  }

  async move(
    from: RecordAddress,
    to: RecordAddress,
    key: SealingKey,
    expected: RecordVersion,
    credential: Credential,
    { onlyIfLast }: Pick<WriteOptions, 'onlyIfLast'>,
  ): Promise<RecordWrite> {
    const { record, version } = this.#draft(to.id, key, credential);
    const options = { ...timesOf(credential), version, onlyIfLast };
    const result = await this.index.move(from, to, expected, record, options);
    if (result.outcome === 'unknown') throw result.cause;
    if (result.outcome === 'ok') return { outcome: 'written', version: result.version };
    return result.outcome === 'followed' ? result : { outcome: 'changed' };
  }

  sealed(id: string, key: SealingKey, credential: Credential): string {
    return this.#draft(id, key, credential).record;
  }

  unsealed(id: string, key: SealingKey, record: string): Credential {
    return parseCredential(unseal(record, key, this.#subject(id)));
  }

  /** Binds a record to its id, and to the tenant if the store has tenants: it opens under no other id. */
  #subject(id: string): string {
    const { tenant } = this.index;
    return tenant === undefined ? id : `${tenant}/${id}`;
  }

  #draft(id: string, key: SealingKey, credential: Credential): Draft {
    const known = this.#drafts.get(credential);
    if (known?.kid === key.kid) return known;
    const record = seal(serializeCredential(credential), key, this.#subject(id));
    const draft = { kid: key.kid, record, version: randomBytes(12).toString('base64url') };
    this.#drafts.set(credential, draft);
    return draft;
  }

  #opened(
    { record, version, ageMs }: StoredRecord,
    recordId: string,
    key: SealingKey,
    asked: Moment,
    id: CredentialId | undefined,
  ): ReadCredential {
    try {
      return { credential: redated(this.unsealed(recordId, key, record), ageMs, asked), version };
    } catch (error) {
      throw error instanceof RecordDamagedError ? damaged(error, id) : error;
    }
  }

  /**
   * Reads all records in one query; `undefined` when they must be read one by one, because one of them makes the query
   * fail.
   */
  async #foundAtOnce(
    addresses: readonly RecordAddress[],
  ): Promise<readonly (StoredRecord | undefined)[] | undefined> {
    try {
      return await this.index.readMany?.(addresses);
    } catch (error) {
      problemOfOne(error);
      return undefined;
    }
  }
}

/**
 * Returns the error of one record.
 *
 * @throws an error that concerns all records
 */
function problemOfOne(error: unknown): HoldfastError {
  if (error instanceof HoldfastError && !(error instanceof StoreUnreachableError)) return error;
  throw error;
}

function timesOf(credential: Credential): Pick<WriteOptions, 'ageMs' | 'dueInMs'> {
  const now = thisMoment();
  return { ageMs: tokenAge(credential.tokens, now), dueInMs: dueInMs(credential, now) };
}
