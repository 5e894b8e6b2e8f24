import type { Engine } from './engine.ts';

export interface EngineStoreOptions {
  /** How long a claim lasts without a renewal, in milliseconds. Others wait that long after a crash. Default 15,000. */
  readonly leaseMs?: number;
  /** How much longer callers wait for a silent holder, in milliseconds, if they have the time. Default 2 leases. */
  readonly patienceMs?: number;
  /**
   * How long a token in memory is served before the engine is checked for other processes' changes. Default 10,000 ms.
   */
  readonly lookEveryMs?: number;
}

/** An engine that is loaded at its first use. */
export interface LazyEngine {
  readonly id: string;
  readonly tenant: string;
  load(): Promise<Engine>;
}
