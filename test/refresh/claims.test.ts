import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import { StoreUnreachableError } from '../../src/errors.ts';
import { ReusePolicy } from '../../src/refresh/reuse-policy.ts';
import { SharedRefresh } from '../../src/refresh/shared-refresh.ts';
import { Secret } from '../../src/secret.ts';
import { SharedMemory } from '../support/engines/memory-engine.ts';
import { gate } from '../support/homes/store.ts';
import {
  authorizationServer,
  credentialsAt,
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

/*
 * Several holders of one credential at one engine. The tests hold each of their steps. Real engines, real processes and
 * real crashes are in test/fleet.
 */

type Server = Awaited<ReturnType<typeof authorizationServer>>;

async function fleet(
  mode: 'strict' | 'grace' = 'grace',
  { replay, leftMs }: { replay?: 'strict' | 'window'; leftMs?: number } = {},
) {
  const server = await authorizationServer(mode);
  const at = await machine({ replay });
  const shared = new SharedMemory();
  const { family, refreshToken } = await server.begin();
  const first = engineProcess(shared, at);
  await putLogin(first.store, at, { server, refreshToken, ...(leftMs === undefined ? {} : { leftMs }) });
  const stored = () => storedAt(first.store, at);
  const open = () => engineProcess(shared, at);
  return {
    server,
    at,
    shared,
    family,
    open,
    stored,
    isLive: async () => (await stored())?.refreshToken === server.live(family),
  };
}

/** Holds that server's answers back, each until its gate is opened. */
function hold({ hooks }: Server, requests: number) {
  const answers = Array.from({ length: requests }, () => ({ made: gate(), go: gate() }));
  hooks.after = async (n) => {
    answers[n - 1]?.made.open();
    await answers[n - 1]?.go.opened;
  };
  return answers as [(typeof answers)[0], ...typeof answers];
}

describe('several holders of one credential at one engine', () => {
  test('ten processes at once send the refresh token once, and all get the same token', async () => {
    const { server, open } = await fleet();
    const holders = Array.from({ length: 10 }, () => open());
    const got = await Promise.all(holders.map(({ vault }) => vault.token(RESOURCE)));
    expect(server.presented).toHaveLength(1);
    expect(new Set(got.map(({ token }) => token.reveal())).size).toBe(1);
  });

  test.each([
    ['strict', ['claim', 'write']],
    ['window', ['claim', 'renew', 'write']],
  ] as const)('a refresh at a %s server costs the engine %j', async (replay, calls) => {
    const { open } = await fleet('grace', { replay });
    const one = open();
    await one.vault.token(RESOURCE);
    expect(one.engine.calls).toEqual(['kidsOf', 'read', ...calls]);
  });

  test('a process whose claim took a whole lease sends nothing, and uses the tokens of the next holder', async () => {
    const { shared, server, open } = await fleet();
    const [reached, go] = [gate(), gate()];
    const stopped = open();
    const claim = stopped.engine.claim.bind(stopped.engine);
    let isFirst = true;
    stopped.engine.claim = async (request) => {
      const answer = await claim(request);
      if (!isFirst) return answer;
      isFirst = false;
      reached.open();
      await go.opened;
      return answer;
    };
    const late = stopped.vault.token(RESOURCE);
    await reached.opened;
    lapse(stopped, shared);
    const got = await open().vault.token(RESOURCE);
    go.open();
    expect((await late).token.equals(got.token)).toBe(true);
    expect(server.presented).toHaveLength(1);
  });

  test('a process whose lease others have taken after the clock was set forward sends nothing', async () => {
    const { at, shared, server, open } = await fleet('strict', { replay: 'strict' });
    const [claimed, go] = [gate(), gate()];
    // By its own clock it holds the lease for one more minute.
    const first = engineProcess(shared, at, { leaseMs: 60_000 });
    const claim = first.engine.claim.bind(first.engine);
    first.engine.claim = async (request) => {
      first.engine.claim = claim;
      const answer = await claim(request);
      claimed.open();
      await go.opened;
      return answer;
    };
    const waiting = first.vault.token(RESOURCE);
    await claimed.opened;
    shared.advance(3_600_000);
    const got = await open().vault.token(RESOURCE);
    // A process trusts a claim of the last second, since nobody sets a clock while a request is on its way.
    await new Promise((resolve) => setTimeout(resolve, 1001));
    go.open();
    expect((await waiting).token.equals(got.token)).toBe(true);
    expect(server.presented).toHaveLength(1);
    expect(server.presented[0]).toContain('rotated');
  });

  test.each(['older first', 'newer first'])(
    'keeps the answer of the later claim of two for one refresh token: %s',
    async (order) => {
      const { shared, server, open, isLive } = await fleet();
      const [first, second] = hold(server, 2);
      const stopped = open();
      const older = stopped.vault.token(RESOURCE);
      await first.made.opened;
      lapse(stopped, shared);
      const newer = open().vault.token(RESOURCE);
      await second?.made.opened;
      for (const [answer, token] of order === 'older first'
        ? ([
            [first, older],
            [second, newer],
          ] as const)
        : ([
            [second, newer],
            [first, older],
          ] as const)) {
        answer?.go.open();
        await token;
      }
      expect(await isLive()).toBe(true);
      expect(shared.aside.map(({ why }) => why)).toEqual(order === 'older first' ? [] : ['late']);
    },
  );

  test('waits for a silent holder at a server known as strict, and uses its answer', async () => {
    const { shared, server, open } = await fleet('strict', { replay: 'strict' });
    const [answer] = hold(server, 1);
    const stopped = open();
    const first = stopped.vault.token(RESOURCE);
    await answer.made.opened;
    lapse(stopped, shared);
    const second = open().vault.token(RESOURCE);
    answer.go.open();
    const [a, b] = await Promise.all([first, second]);
    expect(b.token.equals(a.token)).toBe(true);
    expect(server.presented).toHaveLength(1);
  });

  test('keeps an answer that the engine rejects, and nobody sends its parent token before it is stored', async () => {
    const { server, open } = await fleet();
    const one = open();
    one.engine.cut.add('write').add('putOutbox');
    const got = await one.vault.token(RESOURCE);
    expect(one.events.join()).toContain('unpersisted');
    const theirs = open().vault.token(RESOURCE);
    one.engine.cut.clear();
    expect((await theirs).token.equals(got.token)).toBe(true);
    expect(server.presented).toHaveLength(1);
  });

  test('puts an answer whose record cannot be written into the engine’s outbox, for every machine', async () => {
    const { at, shared, server, open } = await fleet('strict', { replay: 'strict' });
    const one = open();
    one.engine.cut.add('write');
    const got = await one.vault.token(RESOURCE);
    expect(one.events.join()).toContain('the outbox of memory-engine');
    kill(one);
    shared.advance(LEASE_MS + PATIENCE_MS + 100);
    const key = (await readFile(at.keyFile, 'utf8')).trim();
    const elsewhere = await machine({ replay: 'strict', key });
    const next = engineProcess(shared, elsewhere);
    expect((await next.vault.token(RESOURCE)).token.equals(got.token)).toBe(true);
    expect(server.presented).toHaveLength(1);
    expect([...(shared.outbox.values().next().value ?? [])]).toEqual([]);
  });

  test('recognises a write that landed without an answer, and puts nothing aside', async () => {
    const { shared, open } = await fleet();
    const one = open();
    const write = one.engine.write.bind(one.engine);
    let lost = false;
    one.engine.write = async (...arguments_) => {
      const written = await write(...arguments_);
      if (lost) return written;
      lost = true;
      // At first the record cannot be read again either.
      one.engine.cut.add('read');
      setTimeout(() => one.engine.cut.delete('read'), 10);
      throw new StoreUnreachableError('The connection was cut.');
    };
    expect((await one.vault.token(RESOURCE)).generation).toBe(2);
    expect(one.events).toEqual([]);
    expect(shared.aside).toEqual([]);
  });

  test('keeps the claim on a dead process’s tokens from the outbox until they are written', async () => {
    const { shared, server, open, stored } = await fleet();
    const dead = open();
    dead.engine.cut.add('write').add('putOutbox');
    const got = await dead.vault.token(RESOURCE);
    kill(dead);
    shared.advance(LEASE_MS + 100);
    const next = open();
    next.engine.cut.add('write');
    expect((await next.vault.token(RESOURCE)).token.equals(got.token)).toBe(true);
    const other = open().vault.token(RESOURCE, { timeoutMs: 300 });
    await expect(other).rejects.toMatchObject({ retryable: true });
    next.engine.cut.clear();
    await expect.poll(async () => (await stored())?.generation).toBe(2);
    expect(server.presented).toHaveLength(1);
  });

  test('looks at the record again after a pause for a failure, before it sends anything', async () => {
    const { at, server, open } = await fleet();
    const failed = gate();
    server.hooks.before = (_n, response) => {
      response.writeHead(503).end();
      failed.open();
      return true;
    };
    const pausing = open();
    const waiting = pausing.vault.token(RESOURCE);
    await failed.opened;
    // The answer of a holder that was given up arrives after all.
    const late = credentialsAt(open().store, at).credentialStore;
    const held = (await late.find(CredentialId.of(RESOURCE, undefined)))?.held;
    if (held === undefined) throw new Error('It is gone.');
    const { tokens } = held.credential;
    const [accessToken, now] = [new Secret('the-late-answer'), Date.now()];
    const written = await late.replace(held, {
      ...held.credential,
      generation: 2,
      tokens: {
        ...tokens,
        accessToken,
        obtainedAt: now,
        obtainedBoot: undefined,
        expiresAt: now + 3_600_000,
      },
    });
    expect(written).toBeDefined();
    expect((await waiting).token.equals(accessToken)).toBe(true);
    expect(server.presented).toHaveLength(0);
  });

  test('learns nothing about the server from a request that was never sent', async () => {
    const { at, shared, server, open } = await fleet();
    const one = open();
    const claim = one.engine.claim.bind(one.engine);
    let lapsed = 0;
    one.engine.claim = async (request) => {
      const answer = await claim(request);
      if (lapsed < 3) {
        lapsed += 1;
        lapse(one, shared);
      } else {
        one.engine.cut.clear();
      }
      return answer;
    };
    const { credentialStore } = credentialsAt(one.store, at);
    const policy = new ReusePolicy();
    const refresh = new SharedRefresh({
      store: credentialStore,
      environment: at.environment,
      policy,
      report: () => {},
    });
    const held = (await credentialStore.find(CredentialId.of(RESOURCE, undefined)))?.held;
    if (held === undefined) throw new Error('It is gone.');
    const { credential } = await refresh.refresh(held, { leaseMs: 5000, waitMs: 10 * LEASE_MS });
    expect(lapsed).toBe(3);
    expect(server.presented).toHaveLength(1);
    expect(await policy.of(credential)).toBe('unknown');
  });

  test('writes again at once to an engine that forgot a write it had acknowledged', async () => {
    const { shared, server, open, stored } = await fleet('strict', { replay: 'strict' });
    const one = open();
    const before = new Map(shared.rows);
    const got = await one.vault.token(RESOURCE);
    // A replica without the last write was promoted.
    for (const [key, row] of before) shared.rows.set(key, row);
    const again = await one.vault.token(RESOURCE, { rejectedGeneration: -1 });
    expect(again.token.equals(got.token)).toBe(true);
    await expect.poll(async () => (await stored())?.generation).toBe(2);
    expect(server.presented).toHaveLength(1);
  });

  test('a process that only read the newest tokens also writes them again to an engine that forgot them', async () => {
    const { shared, server, open, stored } = await fleet('strict', { replay: 'strict' });
    const [one, other] = [open(), open()];
    const before = new Map(shared.rows);
    const got = await one.vault.token(RESOURCE);
    await other.vault.token(RESOURCE);
    await one.vault.close();
    // A replica without the last write was promoted, and the process that wrote it has ended.
    for (const [key, row] of before) shared.rows.set(key, row);
    const again = await other.vault.token(RESOURCE, { rejectedGeneration: -1 });
    expect(again.token.equals(got.token)).toBe(true);
    await expect.poll(async () => (await stored())?.generation).toBe(2);
    expect(server.presented).toHaveLength(1);
  });

  test('a refusal marks only the refused token, and a later answer replaces the mark', async () => {
    const { shared, server, open, stored, isLive } = await fleet();
    const [answer] = hold(server, 1);
    const stopped = open();
    const first = stopped.vault.token(RESOURCE);
    await answer.made.opened;
    lapse(stopped, shared);
    server.hooks.before = (n, response) => {
      if (n < 2) return false;
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"invalid_grant"}');
      return true;
    };
    await expect(open().vault.token(RESOURCE)).rejects.toThrow(/has ended/);
    expect((await stored())?.loginRequired).toBeDefined();
    answer.go.open();
    await first;
    expect((await stored())?.loginRequired).toBeUndefined();
    expect(await isLive()).toBe(true);
  });
});

test('does not open a record for another tenant', async () => {
  const { at, shared } = await fleet();
  const foreign = engineProcess(shared, at, { tenant: 'others' });
  await expect(foreign.vault.token(RESOURCE)).rejects.toThrow(/does not open/);
});
