import { OutboxFiles } from '../credentials/outbox/outbox-files.ts';
import { HoldfastError, InvalidArgumentError } from '../errors.ts';
import { DirectoryStore } from '../store/directory.ts';
import type { Engine, EngineFinding, EngineStatus } from '../store/engine/engine.ts';
import { EngineStore } from '../store/engine/engine-store.ts';
import type { RecordIndex } from '../store/record-store.ts';
import type { Environment } from '../system/environment.ts';
import { layoutOf } from '../system/files/paths.ts';
import { listPrivateDirectory } from '../system/files/private-directory.ts';

/* The counts and times of a store for its operator. No record is opened. */

export interface StoreStatus {
  readonly store: string;
  readonly tenant: string | undefined;
  /** Absent if the engine cannot answer in its present state; a finding says why. */
  readonly counts:
    | Pick<EngineStatus, 'records' | 'aside'>
    | Pick<EngineStatus, 'records' | 'claims' | 'oldestSilentMs' | 'writtenLastHour' | 'aside'>
    | undefined;
  /** How far this machine's clock is ahead of the engine's, in milliseconds, and the possible error of that. */
  readonly clock: { readonly aheadMs: number; readonly errorMs: number } | undefined;
  /** Number of sealed answers on this machine that the store did not take. */
  readonly spilled: number;
  readonly findings: readonly EngineFinding[];
}

/** The data that a crash of the store's engine may lose, so that a long-running process can warn once. */
export async function durabilityWarnings(store: RecordIndex): Promise<readonly EngineFinding[]> {
  if (!(store instanceof EngineStore)) return [];
  const findings = await store.engine().then((engine) => engine.examine());
  return findings.filter(({ level, about }) => level === 'warning' && about === 'durability');
}

/**
 * @throws StoreUnreachableError, StoreDeniedError when the engine gives no answer
 * @throws InvalidArgumentError for a store that has no status of its own
 */
export async function storeStatus(
  store: RecordIndex,
  environment: Environment,
  home?: string,
): Promise<StoreStatus> {
  const layout = layoutOf(environment, home);
  const spilled = await new OutboxFiles(layout, environment).count();
  if (store instanceof EngineStore) {
    const engine = await store.engine();
    // Runs first, so that the connection is open and the next call times only the clock.
    const findings = await engine.examine();
    return { store: store.id, tenant: store.tenant, spilled, findings, ...(await counted(engine, findings)) };
  }
  if (!(store instanceof DirectoryStore)) {
    throw new InvalidArgumentError(`The store ${store.id} has no counts that can be had without its key.`, {
      hint: 'See: holdfast list, holdfast doctor',
    });
  }
  const [records, quarantined] = await Promise.all([
    store.list(),
    listPrivateDirectory(layout.quarantine, environment),
  ]);
  return {
    store: store.id,
    tenant: undefined,
    counts: { records: records.length, aside: { damaged: quarantined.length, late: 0 } },
    clock: undefined,
    spilled,
    findings: [],
  };
}

async function counted(
  engine: Engine,
  findings: readonly EngineFinding[],
): Promise<Pick<StoreStatus, 'counts' | 'clock'>> {
  const begin = performance.now();
  try {
    const { now, ...counts } = await engine.status();
    const errorMs = (performance.now() - begin) / 2;
    return {
      counts,
      clock: { aheadMs: Math.round(Date.now() - errorMs - now), errorMs: Math.ceil(errorMs) },
    };
  } catch (error) {
    // A finding already reports an engine that answers but is not usable.
    const isTold = findings.some(({ level }) => level === 'error');
    if (!(error instanceof HoldfastError) || error.retryable || !isTold) throw error;
    return { counts: undefined, clock: undefined };
  }
}

/**
 * The engine of that store, if it has tables to create.
 *
 * @throws InvalidArgumentError if it has none
 */
export async function migratable(
  store: RecordIndex,
): Promise<Engine & Required<Pick<Engine, 'migrate' | 'migration'>>> {
  const engine = store instanceof EngineStore ? await store.engine() : undefined;
  if (engine !== undefined && hasMigration(engine)) return engine;
  throw new InvalidArgumentError(`The store ${store.id} has no tables to make.`, {
    hint: 'Only PostgreSQL has: --store postgres://USER@HOST/DATABASE, or HOLDFAST_STORE.',
  });
}

function hasMigration(engine: Engine): engine is Engine & Required<Pick<Engine, 'migrate' | 'migration'>> {
  return engine.migrate !== undefined && engine.migration !== undefined;
}
