import { describe, expect, onTestFinished, test } from 'vitest';
import type { Credential } from '../../src/credential.ts';
import { Spill } from '../../src/credentials/outbox-files.ts';
import { Custody, type Held, nameOf } from '../../src/credentials/sealed-credential-store.ts';
import { LockTimeoutError, NetworkError, OAuthError, StoreUnreachableError } from '../../src/errors.ts';
import { MemoryKeyring } from '../../src/keyring/memory.ts';
import { KeyringResolution } from '../../src/keyring/open.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { type Redeem, RefreshOnce } from '../../src/refresh/refresh.ts';
import { Replays } from '../../src/refresh/reuse-policy.ts';
import { Secret } from '../../src/secret.ts';
import { EngineStore } from '../../src/store/engine-store.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import { thisMoment } from '../../src/system/clock.ts';
import { sampleCredential } from '../support/credential.ts';
import { temporaryHome } from '../support/home.ts';
import { memoryEngine, SharedMemory } from '../support/memory-engine.ts';
import { gate } from '../support/store.ts';

/*
 * Several holders of one credential at one engine, each step of theirs held up at will. Real engines, real servers, real
 * processes and real crashes are in test/fleet.
 */

const LEASE_MS = 300;

/** The lasting keyring that all of them share. */
class SharedKeyring extends MemoryKeyring {
  override async probe() {
    return { status: 'usable', lifetime: 'disk' } as const;
  }
}

/** An authorization server that takes the newest refresh token and, in the window, its parent; the last one given counts. */
class Server {
  presented: string[] = [];
  #given = 0;

  answer(credential: Credential): Awaited<ReturnType<Redeem>> {
    this.presented.push(credential.tokens.refreshToken?.reveal() ?? '');
    this.#given += 1;
    const { wall, boot } = thisMoment();
    return {
      tokens: {
        accessToken: new Secret(`access-${this.#given}`),
        tokenType: 'Bearer',
        refreshToken: new Secret(`refresh-${this.#given}`),
        obtainedAt: wall,
        obtainedBoot: boot,
        expiresAt: wall + 3_600_000,
      },
      scope: undefined,
      issuedTokenType: undefined,
    };
  }
}

async function fleet() {
  const shared = new SharedMemory();
  const home = await temporaryHome();
  const keyring = new SharedKeyring();
  const server = new Server();
  const open = (redeem: Redeem = async (credential) => server.answer(credential)) => {
    const engine = memoryEngine(shared);
    const resolution = new KeyringResolution({
      openers: [{ id: 'memory', tier: 'file', open: async () => keyring }],
    });
    const keys = new SealingKeys(resolution, home.layout, home.environment);
    const store = new EngineStore(engine, { leaseMs: LEASE_MS, patienceMs: 5000 });
    const spill = new Spill(home.layout, home.environment);
    const custody = new Custody({ lasting: store, passing: new MemoryStore(), spill }, keys);
    const said: string[] = [];
    const replays = new Replays();
    const refresh = new RefreshOnce(custody, redeem, (event) => void said.push(event.type), replays);
    onTestFinished(async () => {
      engine.cut.clear();
      // One whose server never answers does not end.
      await Promise.race([refresh.close(), new Promise((resolve) => setTimeout(resolve, 1000))]);
      await custody.close();
    });
    return { engine, keys, custody, refresh, replays, said };
  };
  const first = open();
  const resource = 'https://mcp.example/mcp';
  const { tokens } = sampleCredential(resource);
  const hourAgo = Date.now() - 3_601_000;
  const lapsed = sampleCredential(resource, {
    tokens: { ...tokens, obtainedAt: hourAgo, expiresAt: hourAgo + 3_600_000 },
  });
  const { held } = await first.custody.keep(await first.keys.strongest(), lapsed, () => lapsed);
  const find = async ({ custody }: ReturnType<typeof open>): Promise<Held> => {
    const found = await custody.find(nameOf(lapsed.resource, lapsed.account));
    if (found === undefined) throw new Error('It is gone.');
    return found.held;
  };
  return { shared, server, open, find, held, first };
}

const WAIT = { leaseMs: 5000, waitMs: 10_000 };

describe('holders of one credential at one engine', () => {
  test('ten at once present the refresh token once, and all have what came of it', async () => {
    const { server, open, find } = await fleet();
    const holders = Array.from({ length: 10 }, () => open());
    const got = await Promise.all(holders.map(async (one) => one.refresh.refresh(await find(one), WAIT)));
    expect(server.presented).toHaveLength(1);
    expect(new Set(got.map(({ credential }) => credential.tokens.accessToken.reveal())).size).toBe(1);
  });

  test('a claim and a write are all that a refresh costs', async () => {
    const { open, find } = await fleet();
    const one = open();
    const held = await find(one);
    one.engine.calls.length = 0;
    await one.refresh.refresh(held, WAIT);
    expect(one.engine.calls).toEqual(['claim', 'write']);
  });

  test('one that was stopped before its first byte left sends nothing, and takes what the next one got', async () => {
    const { shared, server, open, find } = await fleet();
    const [reached, go] = [gate(), gate()];
    const stopped = open(async (credential, beforeSend) => {
      reached.open();
      await go.opened;
      beforeSend();
      return server.answer(credential);
    });
    stopped.engine.cut.add('renew');
    const late = stopped.refresh.refresh(await find(stopped), WAIT);
    await reached.opened;
    shared.advance(LEASE_MS + 100);
    const next = open();
    const got = await next.refresh.refresh(await find(next), WAIT);
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS));
    go.open();
    expect((await late).credential.tokens.accessToken.equals(got.credential.tokens.accessToken)).toBe(true);
    expect(server.presented).toHaveLength(1);
  });

  test('of two answers to one refresh token that of the later claim stays, in whichever order they come', async () => {
    for (const order of ['older first', 'newer first'] as const) {
      const { shared, server, open, find } = await fleet();
      const [answered, go] = [gate(), gate()];
      const stopped = open(async (credential) => {
        const answer = server.answer(credential);
        answered.open();
        await go.opened;
        return answer;
      });
      stopped.engine.cut.add('renew');
      const older = stopped.refresh.refresh(await find(stopped), WAIT);
      await answered.opened;
      shared.advance(LEASE_MS + 100);
      const [sent, end] = [gate(), gate()];
      const next = open(async (credential) => {
        const answer = server.answer(credential);
        sent.open();
        await end.opened;
        return answer;
      });
      const newer = next.refresh.refresh(await find(next), WAIT);
      await sent.opened;
      if (order === 'older first') {
        go.open();
        await older;
        end.open();
        await newer;
      } else {
        end.open();
        await newer;
        go.open();
        await older;
      }
      const { credential } = await find(open());
      expect(credential.tokens.refreshToken?.reveal()).toBe('refresh-2');
      expect(shared.aside.map(({ why }) => why)).toEqual(order === 'older first' ? [] : ['late']);
    }
  });

  test('at a server that is known to be strict a silent holder is waited for, and its answer is used', async () => {
    const { shared, server, open, find } = await fleet();
    const [answered, go] = [gate(), gate()];
    const stopped = open(async (credential) => {
      const answer = server.answer(credential);
      answered.open();
      await go.opened;
      return answer;
    });
    stopped.engine.cut.add('renew');
    const first = stopped.refresh.refresh(await find(stopped), WAIT);
    await answered.opened;
    shared.advance(LEASE_MS + 100);
    const patient = open();
    patient.replays.learn((await find(patient)).credential, 'refused');
    const second = patient.refresh.refresh(await find(patient), WAIT);
    go.open();
    const [a, b] = await Promise.all([first, second]);
    expect(b.credential.tokens.accessToken.equals(a.credential.tokens.accessToken)).toBe(true);
    expect(server.presented).toHaveLength(1);
  });

  test('an answer that the engine cannot take is kept, and nobody presents its parent until it is there', async () => {
    const { server, open, find } = await fleet();
    const one = open();
    one.engine.cut.add('write').add('read');
    const held = await find(open());
    const got = await one.refresh.refresh(held, WAIT);
    expect(one.said).toContain('unpersisted');
    const other = open();
    const theirs = other.refresh.refresh(await find(other), WAIT);
    one.engine.cut.clear();
    expect((await theirs).credential.tokens.accessToken.equals(got.credential.tokens.accessToken)).toBe(true);
    expect(server.presented).toHaveLength(1);
  });

  test('a write that landed without its answer is recognised, and nothing is kept aside', async () => {
    const { shared, open, find } = await fleet();
    const one = open();
    const held = await find(one);
    const write = one.engine.write.bind(one.engine);
    let lost = false;
    one.engine.write = async (...arguments_) => {
      const written = await write(...arguments_);
      if (lost) return written;
      lost = true;
      // The record cannot be read again at first, either.
      one.engine.cut.add('read');
      setTimeout(() => one.engine.cut.delete('read'), 10);
      throw new StoreUnreachableError('The connection was cut.');
    };
    const got = await one.refresh.refresh(held, WAIT);
    expect(got.credential.generation).toBe(2);
    expect(one.said).toEqual([]);
    expect(shared.aside).toEqual([]);
  });

  test('tokens that a dead process spilled, and that cannot be written yet, keep the claim of who found them', async () => {
    const { shared, server, open, find } = await fleet();
    const held = await find(open());
    const dead = open();
    dead.engine.cut.add('write').add('read').add('renew');
    const got = await dead.refresh.refresh(held, WAIT);
    shared.advance(LEASE_MS + 100);
    const next = open();
    next.engine.cut.add('write');
    const found = await next.refresh.refresh(await find(next), WAIT);
    expect(found.credential.tokens.accessToken.equals(got.credential.tokens.accessToken)).toBe(true);
    const other = open();
    const claim = other.refresh.refresh(await find(other), { leaseMs: 0, waitMs: 1000 });
    await expect(claim).rejects.toBeInstanceOf(LockTimeoutError);
    next.engine.cut.clear();
    await expect.poll(async () => (await find(open())).credential.generation).toBe(2);
    expect(server.presented).toHaveLength(1);
  });

  test('who paused after a failure looks again before it presents anything', async () => {
    const { server, open, find } = await fleet();
    const failed = gate();
    const pausing = open(async () => {
      failed.open();
      throw new NetworkError('No connection.', { unsent: true });
    });
    const held = await find(pausing);
    const waiting = pausing.refresh.refresh(held, WAIT);
    await failed.opened;
    // The answer of a holder that was given up comes after all.
    const late = open();
    const answer = server.answer(held.credential);
    await late.custody.commit(held, { ...held.credential, generation: 2, tokens: answer.tokens });
    expect((await waiting).credential.tokens.accessToken.equals(answer.tokens.accessToken)).toBe(true);
    expect(server.presented).toHaveLength(1);
  });

  test('a request that was never sent teaches nothing of the server', async () => {
    const { server, open, find } = await fleet();
    let lapsed = 0;
    const one = open(async (credential, beforeSend) => {
      if (lapsed < 3) {
        lapsed += 1;
        one.engine.cut.add('renew');
        await new Promise((resolve) => setTimeout(resolve, LEASE_MS));
        one.engine.cut.delete('renew');
      }
      beforeSend();
      return server.answer(credential);
    });
    const { credential } = await one.refresh.refresh(await find(one), WAIT);
    expect(lapsed).toBe(3);
    expect(server.presented).toHaveLength(1);
    expect(await one.replays.of(credential)).toBe('unknown');
  });

  test('where the newest answer counts, an older one does not take the place of one that died with its holder', async () => {
    const { shared, server, open, find } = await fleet();
    const [answered, go] = [gate(), gate()];
    const stopped = open(async (credential) => {
      const answer = server.answer(credential);
      answered.open();
      await go.opened;
      return answer;
    });
    stopped.engine.cut.add('renew');
    for (let times = 0; times < 2; times += 1)
      stopped.replays.learn((await find(stopped)).credential, 'taken');
    const older = stopped.refresh.refresh(await find(stopped), WAIT);
    await answered.opened;
    shared.advance(LEASE_MS + 100);
    const killed = open(async (credential) => {
      server.answer(credential);
      return new Promise(() => {});
    });
    void killed.refresh.refresh(await find(killed), WAIT).catch(() => {});
    await expect.poll(() => server.presented.length).toBe(2);
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS));
    stopped.engine.cut.delete('renew');
    go.open();
    expect((await older).credential.generation).toBe(1);
    expect(shared.aside.map(({ why }) => why)).toEqual(['late']);
    killed.engine.cut.add('renew');
    shared.advance(LEASE_MS + 100);
    const next = open();
    const { credential } = await next.refresh.refresh(await find(next), WAIT);
    expect(credential.tokens.refreshToken?.reveal()).toBe('refresh-3');
    expect(new Set(server.presented).size).toBe(1);
  });

  test('an engine that forgot what it had acknowledged is told again', async () => {
    const { shared, server, open, find } = await fleet();
    const one = open();
    const before = new Map(shared.rows);
    const got = await one.refresh.refresh(await find(one), WAIT);
    // An asynchronous replica was promoted.
    for (const [key, row] of before) shared.rows.set(key, row);
    const again = one.refresh.landing.newest(await find(one));
    expect(again.credential.tokens.accessToken.equals(got.credential.tokens.accessToken)).toBe(true);
    one.refresh.landing.persistSoon();
    await expect.poll(async () => (await find(open())).credential.generation).toBe(2);
    expect(server.presented).toHaveLength(1);
  });

  test('a refusal by the server marks only what was refused: the answer that comes after it mends that', async () => {
    const { shared, server, open, find } = await fleet();
    const [answered, go] = [gate(), gate()];
    const stopped = open(async (credential) => {
      const answer = server.answer(credential);
      answered.open();
      await go.opened;
      return answer;
    });
    stopped.engine.cut.add('renew');
    const first = stopped.refresh.refresh(await find(stopped), WAIT);
    await answered.opened;
    shared.advance(LEASE_MS + 100);
    const refused = open(async () => {
      throw new OAuthError('The server refused the refresh token.', { error: 'invalid_grant' });
    });
    await expect(refused.refresh.refresh(await find(refused), WAIT)).rejects.toThrow(/has ended/);
    expect((await find(open())).credential.loginRequired).toBeDefined();
    go.open();
    await first;
    const { credential } = await find(open());
    expect(credential.loginRequired).toBeUndefined();
    expect(credential.tokens.refreshToken?.reveal()).toBe('refresh-1');
  });
});

test('a record does not open for another tenant', async () => {
  const { shared, first, held } = await fleet();
  const engine = memoryEngine(shared);
  const foreign = new EngineStore(Object.assign(engine, { tenant: 'others' }));
  const custody = new Custody({ lasting: foreign, passing: new MemoryStore() }, first.keys);
  await expect(custody.find(held.credential)).rejects.toThrow(/does not open/);
});
