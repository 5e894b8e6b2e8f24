/** `holdfast/stores`: the interfaces for storing records in your own engine (docs/stores.md). */
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
export { EngineStore, type EngineStoreOptions, type LazyEngine } from './store/engine/engine-store.ts';
export type {
  RecordAddress,
  RecordStore,
  RecordVersion,
  StoredRecord,
} from './store/record-store.ts';
