import { describe, expect, onTestFinished, test } from 'vitest';
import { type Credential, CredentialId } from '../../src/credential.ts';
import type { StoredCredential } from '../../src/credentials/credential-store.ts';
import { LeaseLostError } from '../../src/errors.ts';
import { requestTokens } from '../../src/refresh/request-tokens.ts';
import { Secret } from '../../src/secret.ts';
import { openRedisStore } from '../../src/store/redis/open.ts';
import { openVault } from '../../src/vault/open.ts';
import { untilStopped } from '../faults/crash/site.ts';
import { SharedMemory } from '../support/engines/memory-engine.ts';
import { noRedis, redisServer } from '../support/engines/redis.ts';
import { bundled } from '../support/homes/bundle.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { start } from '../support/processes/process.ts';
import {
  authorizationServer,
  credentialsAt,
  engineProcess,
  lapse,
  machine,
  PATIENCE_MS,
  putLogin,
  RESOURCE,
  storedAt,
} from '../support/servers/lab.ts';

/*
 * A holder that is stopped after its last look at the lease and before its first byte. Its request reaches the server
 * after that of the next holder, whose claim is the later one.
 */

/** A login at an engine, and functions that take leases on it. */
async function leases() {
  const at = await machine();
  const shared = new SharedMemory();
  const first = engineProcess(shared, at);
  const server = { tokenEndpoint: 'https://as.example.com/token', revocationEndpoint: undefined };
  await putLogin(first.store, at, { server, refreshToken: 'parent' });
  const lease = async () => {
    const process = engineProcess(shared, at);
    const { credentialStore } = credentialsAt(process.store, at);
    const found = await credentialStore.find(CredentialId.of(RESOURCE, undefined));
    if (found === undefined) throw new Error('It is gone.');
    const held = credentialStore.lease(found.held);
    const base = await held.begin({ waitMs: 10_000, unlessMoved: true });
    if (base === undefined) throw new Error('It is gone.');
    onTestFinished(() => held.release());
    return { held, engine: process.engine, base };
  };
  /** Stops the renewals of a holder and lets its lease lapse, then runs `meanwhile`. */
  const lapsed = async <T>(holder: Awaited<ReturnType<typeof lease>>, meanwhile: () => Promise<T>) => {
    lapse(holder, shared);
    const done = await meanwhile();
    holder.engine.cut.delete('renew');
    return done;
  };
  const stored = async () => (await storedAt(first.store, at))?.refreshToken;
  return { shared, lease, lapsed, stored };
}

function answer({ credential }: StoredCredential, refreshToken: string): Credential {
  const { tokens } = credential;
  const { generation } = credential;
  const [accessToken, now] = [new Secret(`access-${refreshToken}`), Date.now()];
  return {
    ...credential,
    generation: generation + 1,
    tokens: {
      ...tokens,
      accessToken,
      refreshToken: new Secret(refreshToken),
      obtainedAt: now,
      obtainedBoot: undefined,
      expiresAt: now + 3_600_000,
    },
  };
}

describe('an answer to a request that left after its lease', () => {
  test('a late answer replaces the answer of the holder in between', async () => {
    const { lease, lapsed, stored } = await leases();
    const late = await lease();
    late.held.fence();
    const next = await lapsed(late, lease);
    next.held.fence();
    next.held.sent();
    await next.held.complete(answer(next.base, 'earlier-at-the-server'), '');
    await next.held.release();
    late.held.sent();
    await late.held.complete(answer(late.base, 'later-at-the-server'), '');
    expect(await stored()).toBe('later-at-the-server');
  });

  test('a late answer replaces that of the holder in between, which is still waiting for its own', async () => {
    const { lease, lapsed, stored } = await leases();
    const late = await lease();
    late.held.fence();
    const next = await lapsed(late, lease);
    next.held.fence();
    next.held.sent();
    late.held.sent();
    const saved = late.held.complete(answer(late.base, 'later-at-the-server'), '');
    await next.held.complete(answer(next.base, 'earlier-at-the-server'), '');
    await next.held.release();
    await saved;
    expect(await stored()).toBe('later-at-the-server');
  });

  test('a late answer keeps its claim when no other holder came in between', async () => {
    const { shared, lease, lapsed, stored } = await leases();
    const late = await lease();
    late.held.fence();
    await lapsed(late, async () => {});
    late.held.sent();
    const { epoch } = late.held;
    await late.held.complete(answer(late.base, 'the-only-one'), '');
    expect(await stored()).toBe('the-only-one');
    expect([...shared.claims.values()].map((claim) => claim.epoch)).toEqual([epoch]);
  });

  test('a late error leaves the lease with the holder in between', async () => {
    const { lease, lapsed } = await leases();
    const late = await lease();
    late.held.fence();
    const next = await lapsed(late, lease);
    late.held.sent();
    await late.held.release();
    next.held.fence();
    await next.held.confirm();
  });

  test('does not send the request if the process notices its lost lease in time', async () => {
    const { lease, lapsed } = await leases();
    const late = await lease();
    const next = await lapsed(late, lease);
    await expect(late.held.confirm()).rejects.toBeInstanceOf(LeaseLostError);
    expect(() => late.held.fence()).toThrow(LeaseLostError);
    next.held.fence();
  });
});

test.skipIf(noRedis)(
  'the login survives a process that is stopped before its first byte and sends after the next holder',
  async () => {
    const leaseMs = 1000;
    const redis = await redisServer();
    const server = await authorizationServer('grace');
    const at = await machine({ replay: 'window' });
    const { family, refreshToken } = await server.begin();
    const store = () => openRedisStore({ url: redis.url, leaseMs, patienceMs: PATIENCE_MS });
    const own = store();
    onTestFinished(() => own.close());
    await putLogin(own, at, { server, refreshToken });
    const program = await bundled(
      await temporaryDirectory(),
      'late-send',
      new URL('late-send-process.ts', import.meta.url),
    );
    const args = [program, RESOURCE, redis.url, String(leaseMs)];
    const stopped = start(process.execPath, args, { ...at.environment.variables } as Record<string, string>);
    onTestFinished(() => stopped.kill('SIGKILL'));
    await untilStopped(stopped);
    expect(server.presented).toEqual([]);
    const next = openVault({ keyring: 'key-file', store: own, environment: at.environment });
    expect((await next.token(RESOURCE)).generation).toBe(2);
    stopped.kill('SIGCONT');
    expect((await stopped.ended).out).toContain('generation 2');
    expect(server.presented).toHaveLength(2);
    expect((await storedAt(own, at))?.refreshToken === server.live(family)).toBe(true);
    expect((await next.token(RESOURCE, { rejectedGeneration: 2 })).generation).toBe(3);
    expect(server.hasEnded(family)).toBe(false);
  },
  60_000,
);

test('dates a token by its request, not by the start of the connection', async () => {
  const server = await authorizationServer('strict');
  const at = await machine({ replay: 'strict' });
  const { refreshToken } = await server.begin();
  const { store } = engineProcess(new SharedMemory(), at);
  await putLogin(store, at, { server, refreshToken });
  const found = await credentialsAt(store, at).credentialStore.find(CredentialId.of(RESOURCE, undefined));
  if (found === undefined) throw new Error('It is gone.');
  let sentAt = Number.POSITIVE_INFINITY;
  const { tokens } = await requestTokens(found.held.credential, at.environment, {
    timeoutMs: 10_000,
    onConnected: async () => {
      // Waits until the clock that dates tokens has moved on.
      const connectedAt = Date.now();
      while (Date.now() - connectedAt < 5) await new Promise(setImmediate);
    },
    beforeSend: () => {
      sentAt = Date.now();
    },
  });
  expect(tokens.obtainedAt).toBeGreaterThanOrEqual(sentAt);
});
