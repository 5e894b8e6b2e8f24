import { expect, onTestFinished, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import type { WatchedEngine } from '../support/engines/memory-engine.ts';
import { SharedMemory } from '../support/engines/memory-engine.ts';
import { gate } from '../support/homes/store.ts';
import { credentialsAt, engineProcess, machine, putLogin } from '../support/servers/lab.ts';

/* Many logins at one engine are handled several at a time: neither one after another nor all at once. */

const LOGINS = 40;
const AT_ONCE = 16;

async function manyLogins() {
  const at = await machine();
  const shared = new SharedMemory();
  const one = engineProcess(shared, at);
  const server = { tokenEndpoint: 'http://127.0.0.1:1/token', revocationEndpoint: undefined };
  for (let n = 0; n < LOGINS; n += 1) {
    const resource = `https://mcp.example.com/${n}`;
    await putLogin(one.store, at, { server, refreshToken: 'parent', leftMs: 3_000_000, resource });
  }
  return { at, shared, ...one };
}

/** Holds those calls until `most` are in progress. @returns the highest number of calls at once */
function counted(engine: WatchedEngine, name: 'read' | 'leased' | 'move', most: number) {
  const all = gate();
  const seen = { most: 0, now: 0 };
  const call = engine[name].bind(engine) as (...given: unknown[]) => Promise<unknown>;
  Object.assign(engine, {
    [name]: async (...given: unknown[]) => {
      seen.now += 1;
      seen.most = Math.max(seen.most, seen.now);
      if (seen.now === most) all.open();
      await all.opened;
      const answer = await call(...given);
      seen.now -= 1;
      return answer;
    },
  });
  return seen;
}

test('lists by reading sixteen records and sixteen leases at a time when the engine has no bulk query', async () => {
  const { engine, vault } = await manyLogins();
  const reads = counted(engine, 'read', AT_ONCE);
  const leases = counted(engine, 'leased', AT_ONCE);
  expect((await vault.list()).credentials).toHaveLength(LOGINS);
  expect([reads.most, leases.most]).toEqual([AT_ONCE, AT_ONCE]);
});

test('lists with one query for all records and one for all leases when the engine has bulk queries', async () => {
  const { engine, vault } = await manyLogins();
  Object.assign(engine, {
    readMany: (addresses: Parameters<WatchedEngine['read']>[0][]) =>
      Promise.all(addresses.map((address) => engine.read(address))),
    leasedAmong: async (ids: string[]) => ids.slice(0, 3),
  });
  const { credentials } = await vault.list();
  expect(credentials).toHaveLength(LOGINS);
  expect(credentials.filter(({ state }) => state === 'refreshing')).toHaveLength(3);
  expect(engine.calls.filter((name) => name === 'readMany' || name === 'leasedAmong')).toHaveLength(2);
  expect(engine.calls).not.toContain('leased');
});

test('rekeys sixteen logins at a time', async () => {
  const { at, engine, vault } = await manyLogins();
  await at.renewKey();
  const moves = counted(engine, 'move', AT_ONCE);
  expect(await vault.admin.rekey()).toMatchObject({ moved: LOGINS, left: [] });
  expect(moves.most).toBe(AT_ONCE);
});

test('begins to refresh before the refresher has read all records', async () => {
  const { at, shared, store } = await manyLogins();
  const { credentialStore, keys } = credentialsAt(store, at);
  // More logins than are read at once, without a file for each.
  const found = (await credentialStore.find(CredentialId.of('https://mcp.example.com/0', undefined)))?.held;
  if (found === undefined) throw new Error('It is gone.');
  const key = await keys.strongest();
  for (let n = LOGINS; n < 450; n += 1) {
    const id = CredentialId.of(`https://mcp.example.com/${n}`, undefined);
    await credentialStore.save(key, id, () => ({
      ...found.credential,
      resource: id.resource,
      generation: 1,
    }));
  }
  const first = [...shared.rows.keys()].slice(0, 1);
  const [begun, end] = [gate(), new AbortController()];
  const { engine, vault } = engineProcess(shared, at);
  const read = engine.read.bind(engine);
  let reads = 0;
  engine.read = async (address) => {
    reads += 1;
    // The engine answers the last read only once a refresh has begun.
    if (reads === 450) await begun.opened;
    const answer = await read(address);
    const isDue = first.includes(`${address.kid}/${address.id}`);
    return answer && (isDue ? { ...answer, ageMs: 4_000_000 } : answer);
  };
  const claim = engine.claim.bind(engine);
  engine.claim = async (request) => {
    begun.open();
    return claim(request);
  };
  onTestFinished(() => end.abort());
  const result = vault.admin.runRefresher({ signal: end.signal, onLook: () => end.abort() });
  await begun.opened;
  await result;
  expect(reads).toBeGreaterThanOrEqual(450);
});
