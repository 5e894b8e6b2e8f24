/** `holdfast/stores`: what it takes to keep records in an engine of one's own (docs/stores.md). */
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
  RecordStore as Store,
  RecordVersion,
  StoredRecord,
} from './store/record-store.ts';
