/** `holdfast/stores`: the interfaces for storing records in your own engine (docs/stores.md). */
import type { Engine } from './store/engine/engine.ts';
import { EngineStore } from './store/engine/engine-store.ts';
import type { EngineStoreOptions, LazyEngine } from './store/engine/engine-store-options.ts';
import type { RecordStore } from './store/record-store.ts';

export {
  type ClaimAnswer,
  type ClaimEnd,
  type ClaimRequest,
  type DueRecord,
  type Engine,
  type EngineFinding,
  type EngineStatus,
  type EngineWrite,
  type LaterClaim,
  MAX_OUTBOX_ENTRIES,
  type NamedVersion,
  type OutboxEntry,
  type StoredOutboxEntry,
  type WriteAnswer,
} from './store/engine/engine.ts';
export type { EngineStoreOptions, LazyEngine } from './store/engine/engine-store-options.ts';
export type {
  RecordAddress,
  RecordStore,
  RecordVersion,
  StoredRecord,
} from './store/record-store.ts';

/**
 * Makes a store on an engine of your own, for `openVault({ store })`. What all engines have in common is done here: the
 * claims, their renewal, and the answers that an engine did not take.
 *
 * @example openVault({ store: engineStore(new YourEngine(client)) })
 */
export function engineStore(engine: Engine | LazyEngine, options?: EngineStoreOptions): RecordStore {
  return new EngineStore(engine, options);
}
