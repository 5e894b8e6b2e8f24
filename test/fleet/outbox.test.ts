import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import { StorageFullError } from '../../src/errors.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { defined } from '../../src/values/defined.ts';
import { SharedMemory } from '../support/engines/memory-engine.ts';
import { gate, storeAround } from '../support/homes/store.ts';
import {
  authorizationServer,
  credentialsAt,
  ended,
  engineProcess,
  kill,
  LEASE_MS,
  lapse,
  machine,
  PATIENCE_MS,
  putLogin,
  RESOURCE,
  storedAt,
} from '../support/servers/lab.ts';

describe('answers that no store accepted', () => {
  test('keeps unsaved answers of two tenants on one machine apart, and stores each later', async () => {
    const server = await authorizationServer('strict');
    const at = await machine({ replay: 'strict' });
    const tenants = await Promise.all(
      ['acme', 'umbrella'].map(async (tenant) => {
        const shared = new SharedMemory();
        const { family, refreshToken } = await server.begin();
        await putLogin(engineProcess(shared, at, { tenant }).store, at, { server, refreshToken });
        return { tenant, shared, family };
      }),
    );
    for (const { tenant, shared } of tenants) {
      const one = engineProcess(shared, at, { tenant });
      one.engine.cut.add('write').add('putOutbox');
      await one.vault.token(RESOURCE);
      kill(one);
      shared.advance(LEASE_MS + PATIENCE_MS + 100);
    }
    expect(await readdir(join(at.home, 'outbox'))).toHaveLength(2);
    for (const { tenant, shared, family } of tenants) {
      const next = engineProcess(shared, at, { tenant });
      expect(await ended(next.vault.token(RESOURCE))).toBe('generation 2');
      expect(server.hasEnded(family)).toBe(false);
    }
    expect(await readdir(join(at.home, 'outbox'))).toEqual([]);
  });

  test('an earlier holder that returns does not remove the unsaved answer of a later one', async () => {
    const server = await authorizationServer('strict');
    const at = await machine({ replay: 'strict' });
    const shared = new SharedMemory();
    const { family, refreshToken } = await server.begin();
    const first = engineProcess(shared, at);
    await putLogin(first.store, at, { server, refreshToken });
    // It gets generation 2, cannot store it, and is stopped.
    const early = engineProcess(shared, at);
    early.engine.cut.add('write').add('putOutbox').add('renew').add('version');
    await early.vault.token(RESOURCE);
    early.engine.cut.add('read').add('claim').add('release').add('quarantine').add('kidsOf');
    shared.advance(LEASE_MS + PATIENCE_MS + 100);
    // The next process stores generation 2, gets generation 3, cannot store it, and dies.
    const later = engineProcess(shared, at);
    const home = await later.vault.token(RESOURCE);
    later.engine.cut.add('write').add('putOutbox');
    await later.vault.token(RESOURCE, { rejectedGeneration: home.generation });
    kill(later);
    // The early process continues, finds its answer stored, and cleans up.
    early.engine.cut.clear();
    await expect.poll(() => early.engine.calls.filter((call) => call === 'read').length).toBeGreaterThan(1);
    await early.vault.close();
    shared.advance(LEASE_MS + PATIENCE_MS + 100);
    const last = engineProcess(shared, at);
    expect(await ended(last.vault.token(RESOURCE, { rejectedGeneration: home.generation }))).toBe(
      'generation 3',
    );
    expect((await storedAt(first.store, at))?.refreshToken === server.live(family)).toBe(true);
    expect(server.hasEnded(family)).toBe(false);
  });

  test('stores the unsaved answers of two homes that share one outbox directory', async () => {
    const server = await authorizationServer('strict');
    const one = await machine({ replay: 'strict' });
    const key = 'one-key-for-both-homes-32-bytes-'.slice(0, 32);
    const homes = await Promise.all(
      [1, 2].map(async () => {
        const at = await machine({ replay: 'strict', key: Buffer.from(key).toString('base64url') });
        const environment = {
          ...at.environment,
          variables: { ...at.environment.variables, XDG_RUNTIME_DIR: join(one.path, 'run') },
        };
        return {
          ...at,
          environment,
          layout: { ...at.layout, outboxes: [join(one.path, 'run', 'holdfast')] },
        };
      }),
    );
    const families: number[] = [];
    for (const at of homes) {
      const disk = new DirectoryStore(at.layout, at.environment);
      const { family, refreshToken } = await server.begin();
      families.push(family);
      await putLogin(disk, at, { server, refreshToken });
      const full = storeAround(disk, {
        cas: async () => {
          throw new StorageFullError('No space is left.');
        },
      });
      // The home has no space either.
      const { credentialStore } = credentialsAt(full, at);
      const found = (await credentialStore.find(CredentialId.of(RESOURCE, undefined)))?.held;
      if (found === undefined) throw new Error('It is gone.');
      const lease = credentialStore.lease(found);
      const current = await lease.begin({ waitMs: 1000 });
      if (current === undefined) throw new Error('It is gone.');
      await lease.complete({ ...current.credential, generation: 2 }, '');
      await lease.release();
      await credentialStore.settle();
    }
    for (const at of homes) {
      const { credentialStore } = credentialsAt(new DirectoryStore(at.layout, at.environment), at);
      const found = (await credentialStore.find(CredentialId.of(RESOURCE, undefined)))?.held;
      if (found === undefined) throw new Error('It is gone.');
      const lease = credentialStore.lease(found);
      expect((await lease.begin({ waitMs: 1000 }))?.credential.generation).toBe(2);
      await lease.release();
    }
    expect(families).toHaveLength(2);
  });
});

test('uses an answer that another process stores just after a claim, and does not send the old token', async () => {
  const server = await authorizationServer('strict');
  const at = await machine({ replay: 'strict' });
  const shared = new SharedMemory();
  const { family, refreshToken } = await server.begin();
  const dies = engineProcess(shared, at);
  await putLogin(dies.store, at, { server, refreshToken });
  dies.engine.cut.add('write');
  await dies.vault.token(RESOURCE);
  kill(dies);
  shared.advance(LEASE_MS + PATIENCE_MS + 100);
  // A process that has found the answer in the outbox, and is stopped before it writes it.
  const stopped = engineProcess(shared, at);
  const { credentialStore } = credentialsAt(stopped.store, at);
  const found = (await credentialStore.find(CredentialId.of(RESOURCE, undefined)))?.held;
  if (found === undefined) throw new Error('It is gone.');
  const [writing, goOn] = [gate(), gate()];
  const write = stopped.engine.write.bind(stopped.engine);
  stopped.engine.write = async (...given) => {
    writing.open();
    await goOn.opened;
    return write(...given);
  };
  stopped.engine.cut.add('renew');
  const home = credentialStore.lease(found).begin({ waitMs: 1000 });
  await writing.opened;
  shared.advance(LEASE_MS + PATIENCE_MS + 100);
  // It continues after the next process has claimed and before that process reads the outbox.
  const next = engineProcess(shared, at);
  const list = next.engine.listOutbox.bind(next.engine);
  next.engine.listOutbox = async (id) => {
    goOn.open();
    await home;
    return list(id);
  };
  expect(await ended(next.vault.token(RESOURCE))).toBe('generation 2');
  expect(server.presented).toHaveLength(1);
  expect(server.hasEnded(family)).toBe(false);
});

describe('a late answer, at a server that honours the newest answer', () => {
  test('a late answer does not replace the newer tokens, although its first question was lost', async () => {
    const server = await authorizationServer('grace');
    const at = await machine({ replay: 'window' });
    const shared = new SharedMemory();
    const { family, refreshToken } = await server.begin();
    const first = engineProcess(shared, at);
    await putLogin(first.store, at, { server, refreshToken });
    const { late, goOn } = await followedBy(server, shared, at);
    goOn();
    await late;
    const next = engineProcess(shared, at);
    shared.advance(LEASE_MS + PATIENCE_MS);
    const refused = (await storedAt(first.store, at))?.generation;
    await next.vault.token(RESOURCE, defined({ rejectedGeneration: refused }));
    expect((await storedAt(first.store, at))?.refreshToken === server.live(family)).toBe(true);
    expect(server.hasEnded(family)).toBe(false);
  });

  test('a late answer does not replace the newer tokens if it was asked for in time but written late', async () => {
    const server = await authorizationServer('grace');
    const at = await machine({ replay: 'window' });
    const shared = new SharedMemory();
    const { family, refreshToken } = await server.begin();
    const first = engineProcess(shared, at);
    await putLogin(first.store, at, { server, refreshToken });
    const held = engineProcess(shared, at);
    let heal = () => {};
    const healed = new Promise<void>((resolve) => {
      heal = resolve;
    });
    const write = held.engine.write.bind(held.engine);
    const sent = new Promise<void>((resolve) => {
      held.engine.write = async (...given) => {
        resolve();
        await healed;
        return write(...given);
      };
    });
    const late = held.vault.token(RESOURCE).catch(() => {});
    await sent;
    held.engine.cut.add('renew');
    shared.advance(LEASE_MS + 100);
    const dies = engineProcess(shared, at);
    const answered = new Promise<void>((resolve) => {
      server.hooks.after = async (n) => {
        if (n !== 2) return;
        resolve();
        await new Promise(() => {});
      };
    });
    void dies.vault.token(RESOURCE).catch(() => {});
    await answered;
    kill(dies);
    server.hooks.after = undefined;
    held.engine.cut.clear();
    heal();
    // It waits for the claim of the process that died.
    const claims = () => held.engine.calls.filter((call) => call === 'claim').length;
    await expect.poll(claims, { timeout: 30_000 }).toBeGreaterThan(1);
    shared.advance(LEASE_MS + 100);
    await late;
    shared.advance(LEASE_MS + PATIENCE_MS);
    const next = engineProcess(shared, at);
    const refused = (await storedAt(first.store, at))?.generation;
    await next.vault.token(RESOURCE, defined({ rejectedGeneration: refused }));
    expect((await storedAt(first.store, at))?.refreshToken === server.live(family)).toBe(true);
    expect(server.hasEnded(family)).toBe(false);
  });

  test('stores a late answer if the process that claimed since died before it sent anything', async () => {
    const server = await authorizationServer('grace');
    const at = await machine({ replay: 'window' });
    const shared = new SharedMemory();
    const { family, refreshToken } = await server.begin();
    const first = engineProcess(shared, at);
    await putLogin(first.store, at, { server, refreshToken });
    const { late, goOn } = await followedBy(server, shared, at, { beforeItSends: true });
    goOn();
    await late;
    expect((await storedAt(first.store, at))?.refreshToken === server.live(family)).toBe(true);
    expect(server.presented).toHaveLength(1);
  });
});

/** A holder that was stopped with its answer for longer than its lease, and another that claimed since and died. */
async function followedBy(
  server: Awaited<ReturnType<typeof authorizationServer>>,
  shared: SharedMemory,
  at: Awaited<ReturnType<typeof machine>>,
  { beforeItSends = false } = {},
) {
  const answers = [1, 2].map(() => {
    let made = () => {};
    let goOn = () => {};
    return {
      made: new Promise<void>((resolve) => (made = resolve)),
      gone: new Promise<void>((resolve) => (goOn = resolve)),
      open: { made: () => made(), goOn: () => goOn() },
    };
  });
  server.hooks.after = async (n) => {
    answers[n - 1]?.open.made();
    await answers[n - 1]?.gone;
  };
  const stopped = engineProcess(shared, at);
  const late = stopped.vault.token(RESOURCE, { timeoutMs: 1500 }).catch(() => {});
  await answers[0]?.made;
  lapse(stopped, shared);
  const next = engineProcess(shared, at);
  if (beforeItSends) {
    const claim = next.engine.claim.bind(next.engine);
    await new Promise<void>((resolve) => {
      next.engine.claim = async (request) => {
        const answer = await claim(request);
        kill(next);
        resolve();
        return new Promise(() => answer);
      };
      void next.vault.token(RESOURCE).catch(() => {});
    });
  } else {
    void next.vault.token(RESOURCE).catch(() => {});
    await answers[1]?.made;
    kill(next);
  }
  return {
    late,
    goOn: () => {
      server.hooks.after = undefined;
      answers[1]?.open.goOn();
      answers[0]?.open.goOn();
    },
  };
}

test('does not write an older answer over a live one after a failover that lost the last claims', async () => {
  const server = await authorizationServer('grace');
  const at = await machine({ replay: 'window' });
  const shared = new SharedMemory();
  const { family, refreshToken } = await server.begin();
  const first = engineProcess(shared, at);
  await putLogin(first.store, at, { server, refreshToken });
  const replica = {
    rows: new Map(shared.rows),
    claims: new Map([...shared.claims].map(([id, claim]) => [id, { ...claim }])),
  };
  const a = engineProcess(shared, at);
  server.hooks.before = (_n, response) => {
    response.writeHead(503).end();
    server.hooks.before = undefined;
    return true;
  };
  expect((await a.vault.token(RESOURCE)).generation).toBe(2);
  for (const [name, kept] of Object.entries(replica) as ['rows' | 'claims', Map<string, never>][]) {
    shared[name].clear();
    for (const [key, value] of kept) shared[name].set(key, value);
  }
  const b = engineProcess(shared, at);
  await b.vault.token(RESOURCE);
  const isLive = async () => (await storedAt(first.store, at))?.refreshToken === server.live(family);
  expect(await isLive()).toBe(true);
  const calls = a.engine.calls.length;
  await a.vault.token(RESOURCE, { rejectedGeneration: -1 });
  await expect.poll(() => a.engine.calls.length).toBeGreaterThan(calls);
  await a.vault.close();
  expect(await isLive()).toBe(true);
});

test('a process forgets most of the thousands of logins that it has refreshed', async () => {
  const server = await authorizationServer('strict');
  const at = await machine();
  const shared = new SharedMemory();
  const one = engineProcess(shared, at);
  const { credentialStore, keys } = credentialsAt(one.store, at);
  const key = await keys.strongest();
  await putLogin(one.store, at, { server, refreshToken: 'x'.repeat(900) });
  const sample = (await credentialStore.find(CredentialId.of(RESOURCE, undefined)))?.held.credential;
  if (sample === undefined) throw new Error('It is gone.');
  const refreshed: WeakRef<object>[] = [];
  for (let count = 0; count < 2_000; count += 1) {
    const id = CredentialId.of(`${RESOURCE}/${count}`, undefined);
    const { resource, account } = id;
    const { held } = await credentialStore.save(key, id, () => ({
      ...sample,
      resource,
      account,
      generation: 1,
    }));
    const lease = credentialStore.lease(held);
    await lease.begin({ waitMs: 1000 });
    const next = { ...held.credential, generation: 2 };
    refreshed.push(new WeakRef((await lease.complete(next, '')).credential));
    await lease.release();
    shared.rows.clear();
    shared.claims.clear();
  }
  const { setFlagsFromString } = await import('node:v8');
  const { runInNewContext } = await import('node:vm');
  setFlagsFromString('--expose-gc');
  await new Promise((resolve) => setImmediate(resolve));
  (runInNewContext('gc') as () => void)();
  expect(refreshed.filter((one) => one.deref() !== undefined).length).toBeLessThan(400);
});
