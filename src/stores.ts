/** `holdfast/stores`: what it takes to keep records in an engine of one's own (docs/stores.md). */
export type {
  ClaimAnswer,
  ClaimRequest,
  Engine,
  EngineFinding,
  EngineStatus,
  EngineWrite,
} from './store/engine.ts';
export { EngineStore, type EngineStoreOptions, type LazyEngine } from './store/engine-store.ts';
export type { RecordAddress, RecordVersion, Store, StoredRecord } from './store/store.ts';
