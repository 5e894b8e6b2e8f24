import type { Counters, Servers } from './servers.ts';

/** Returns the counts of the authorization server that have changed since `before`, and by how much. */
export async function countedSince(servers: Servers, before: Counters): Promise<Partial<Counters>> {
  const now = await servers.counters();
  const names = Object.keys(now) as (keyof Counters)[];
  return Object.fromEntries(
    names.map((name) => [name, now[name] - before[name]]).filter(([, count]) => count !== 0),
  );
}
