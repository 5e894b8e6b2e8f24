import { OutboxFiles } from '../credentials/outbox/outbox-files.ts';
import { HoldfastError, InvalidArgumentError } from '../errors.ts';
import { DirectoryStore } from '../store/directory.ts';
import type { Engine, EngineFinding, EngineStatus } from '../store/engine/engine.ts';
import { EngineStore } from '../store/engine/engine-store.ts';
import type { RecordIndex } from '../store/record-store.ts';
import type { Environment } from '../system/environment.ts';
import { layoutOf } from '../system/files/paths.ts';
import { listPrivateDirectory } from '../system/files/private-directory.ts';

/* What an operator asks of a store: counts and times, no record opened. */

export interface StoreStatus {
  readonly store: string;
  readonly tenant: string | undefined;
  /** Absent where the engine cannot be asked as it is; a finding says why. */
  readonly counts:
    | Pick<EngineStatus, 'records' | 'aside'>
    | Pick<EngineStatus, 'records' | 'claims' | 'oldestSilentMs' | 'writtenLastHour' | 'aside'>
    | undefined;
  /** How far this machine's clock is ahead of the engine's, in milliseconds, and by how much that may be wrong. */
  readonly clock: { readonly aheadMs: number; readonly errorMs: number } | undefined;
  /** Answers that lie on this machine, sealed, because the store did not take them. */
  readonly spilled: number;
  readonly findings: readonly EngineFinding[];
}

/** What a crash of the store's engine may lose, for what runs for long to say once. */
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
    // It goes first: the way there stands then, and what follows times the clock and not the connection.
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
    // An engine that answers, and is not fit for use, has said so already.
    const isTold = findings.some(({ level }) => level === 'error');
    if (!(error instanceof HoldfastError) || error.retryable || !isTold) throw error;
    return { counts: undefined, clock: undefined };
  }
}

/**
 * The engine of that store, where it has tables to be made.
 *
 * @throws InvalidArgumentError where it has none
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
