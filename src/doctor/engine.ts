import type { EngineStore } from '../store/engine/engine-store.ts';
import { type Finding, failed, ok, warning } from './finding.ts';

/** Checks an engine by its own report, and by a record that is written, read and removed. */
export async function engineFindings(store: EngineStore): Promise<Finding[]> {
  const engine = await store.engine();
  const findings = (await engine.examine()).map(({ level, message, hint }): Finding => {
    if (level === 'ok') return ok('store', message);
    return level === 'warning' ? warning('store', message, hint) : failed('store', message, hint);
  });
  if (findings.some(({ status }) => status === 'failed')) return findings;
  await store.selfTest();
  return [...findings, ok('store', `A record was written to ${store.id}, read back and removed.`)];
}
