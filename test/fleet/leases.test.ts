import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DirectoryStore } from '../../src/store/directory.ts';
import { SharedMemory } from '../support/engines/memory-engine.ts';
import {
  authorizationServer,
  ended,
  engineProcess,
  machine,
  putLogin,
  RESOURCE,
  storedAt,
} from '../support/servers/lab.ts';

async function login() {
  const server = await authorizationServer('strict');
  const at = await machine({ replay: 'strict' });
  const shared = new SharedMemory();
  const { refreshToken } = await server.begin();
  const one = engineProcess(shared, at);
  await putLogin(one.store, at, { server, refreshToken });
  return { server, at, shared, one };
}

test('claims by name if the engine reports another version but returns the same one', async () => {
  const { server, one } = await login();
  const claim = one.engine.claim.bind(one.engine);
  // The row of its lease is gone, or older than the record.
  one.engine.claim = async (request) =>
    request.only === undefined ? claim(request) : { outcome: 'superseded' };
  expect(await ended(one.vault.token(RESOURCE))).toBe('generation 2');
  expect(server.presented).toHaveLength(1);
  expect(one.engine.calls.length).toBeLessThan(20);
});

test('a refresh whose record always changes ends with its caller, and close does not wait for it', async () => {
  const { server, one } = await login();
  let version = 0;
  const read = one.engine.read.bind(one.engine);
  one.engine.claim = async () => ({ outcome: 'superseded' });
  one.engine.read = async (address) => {
    version += 1;
    const found = await read(address);
    return found && { ...found, version: String(version) };
  };
  expect(await ended(one.vault.token(RESOURCE, { timeoutMs: 500 }))).toMatch(/Timeout/);
  await one.vault.close();
  const { length } = one.engine.calls;
  expect(length).toBeLessThan(60);
  expect(server.presented).toHaveLength(0);
});

test('stores an answer for its new refresh token even if it repeats an access token', async () => {
  const { server, at, one } = await login();
  server.hooks.shape = (body) => ({ ...body, access_token: 'access-token-of-the-login' });
  expect(await ended(one.vault.token(RESOURCE))).toBe('generation 2');
  const first = (await storedAt(one.store, at))?.refreshToken;
  await one.vault.token(RESOURCE, { rejectedGeneration: 2 });
  expect(await storedAt(one.store, at)).toMatchObject({ generation: 3 });
  expect((await storedAt(one.store, at))?.refreshToken === first).toBe(false);
  expect(server.presented).toEqual(['0/0 rotated', '1/0 rotated']);
});

test('counts the leases of a directory upward, even if the count was lost', async () => {
  const at = await machine();
  const store = new DirectoryStore(at.layout, at.environment);
  const epochs: number[] = [];
  const lease = async (id: string) => {
    const held = await store.lock(id, { waitMs: 1000 });
    epochs.push(held.epoch ?? Number.NaN);
    await held.release();
  };
  await lease('record');
  await lease('record');
  const path = join(at.layout.locks, 'record.epoch');
  expect(Number(await readFile(path, 'ascii'))).toBe(epochs[1]);
  await writeFile(path, 'not a number');
  // The count restarts at the milliseconds of the clock.
  await expect.poll(() => Date.now()).toBeGreaterThan(epochs[1] ?? 0);
  await lease('record');
  expect(epochs.every((epoch, index) => index === 0 || epoch > (epochs[index - 1] ?? epoch))).toBe(true);
});
