import { describe, expect, test } from 'vitest';
import { StorageFullError } from '../../src/errors.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import type { RecordStore } from '../../src/store/record-store.ts';
import { SharedMemory } from '../support/engines/memory-engine.ts';
import { gate, storeAround } from '../support/homes/store.ts';
import {
  authorizationServer,
  directoryProcess,
  ended,
  engineProcess,
  LEASE_MS,
  machine,
  PATIENCE_MS,
  putLogin,
  RESOURCE,
} from '../support/servers/lab.ts';
import { Trace } from '../support/trace.ts';

/*
 * The frozen order in which a refresh uses its store, its lease and its server. A commit that changes the order changes
 * these files and says why.
 */

const WHERE = ['directory', 'engine'] as const;

async function scene(where: (typeof WHERE)[number], leftMs = -1000) {
  const server = await authorizationServer('strict');
  const at = await machine({ replay: 'strict' });
  const shared = new SharedMemory();
  const trace = new Trace();
  const { family, refreshToken } = await server.begin();
  server.hooks.before = () => trace.say('server', 'request');
  server.hooks.after = () => trace.say('server', 'answer');
  const disk = () => new DirectoryStore(at.layout, at.environment);
  /** A process; `change` replaces methods of its store. */
  const open = (who: string, change: Partial<RecordStore> = {}) => {
    if (where === 'directory') {
      return { ...directoryProcess(at, trace.store(who, storeAround(disk(), change))), cut: () => {} };
    }
    const one = engineProcess(shared, at);
    const { engine } = one;
    for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(engine))) {
      const call: unknown = Reflect.get(engine, name);
      if (name === 'constructor' || name === 'renew' || typeof call !== 'function') continue;
      Reflect.set(engine, name, (...given: unknown[]) => {
        trace.say(who, name);
        return Reflect.apply(call, engine, given) as unknown;
      });
    }
    return { ...one, cut: (name: 'write') => void engine.cut.add(name) };
  };
  const first = where === 'directory' ? disk() : engineProcess(shared, at).store;
  await putLogin(first, at, { server, refreshToken, leftMs });
  const frozen = (name: string) => expect(trace.text).toMatchFileSnapshot(`./traces/${name}.${where}.txt`);
  return { server, at, shared, trace, family, open, frozen };
}

describe.each(WHERE)('the order of steps at a %s store', (where) => {
  test('a fresh token is read, and no server is asked', async () => {
    const { open, frozen } = await scene(where, 3_000_000);
    const { vault } = open('one');
    await vault.token(RESOURCE);
    await vault.close();
    await frozen('fresh');
  });

  test('an expired token is refreshed under the lease', async () => {
    const { open, frozen } = await scene(where);
    const { vault } = open('one');
    await vault.token(RESOURCE);
    await vault.close();
    await frozen('expired');
  });

  test('a second process uses what the first one got', async () => {
    const { open, frozen } = await scene(where);
    await open('one').vault.token(RESOURCE);
    await open('two').vault.token(RESOURCE);
    await frozen('second-process');
  });

  test('a refusal ends the login', async () => {
    const { server, trace, open, frozen } = await scene(where);
    server.hooks.before = (_n, response) => {
      trace.say('server', 'refusal');
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"invalid_grant"}');
      return true;
    };
    trace.say('caller', await ended(open('one').vault.token(RESOURCE)));
    await frozen('refused');
  });

  test('a lost answer leaves a note, and nobody asks at once', async () => {
    const { server, trace, open, frozen } = await scene(where);
    server.hooks.after = (_n, response) => {
      trace.say('server', 'answer lost');
      response.destroy();
      return true;
    };
    trace.say('caller', await ended(open('one').vault.token(RESOURCE, { timeoutMs: 500 })));
    await frozen('answer-lost');
  });

  test('an answer that the store refuses is kept elsewhere', async () => {
    const { trace, open, frozen } = await scene(where);
    const one = open('one', {
      cas: async () => {
        trace.say('one', 'cas refused');
        throw new StorageFullError('No space is left.');
      },
    });
    one.cut('write');
    trace.say('caller', await ended(one.vault.token(RESOURCE)));
    await frozen('store-full');
  });

  test('a rekey waits for the refresh that is under way', async () => {
    const { server, at, shared, trace, open, frozen } = await scene(where);
    const [asked, go] = [gate(), gate()];
    server.hooks.after = async () => {
      trace.say('server', 'answer');
      asked.open();
      await go.opened;
    };
    await at.renewKey();
    const token = ended(open('one').vault.token(RESOURCE));
    await asked.opened;
    // The number of its polls varies, so they are not recorded.
    const rekeyed = (
      where === 'directory' ? directoryProcess(at) : engineProcess(shared, at)
    ).vault.admin.rekey();
    go.open();
    trace.say('caller', await token);
    trace.say('rekey', `moved ${(await rekeyed).moved}`);
    shared.advance(LEASE_MS + PATIENCE_MS);
    trace.say('caller', await ended(open('two').vault.token(RESOURCE)));
    await frozen('rekey-meanwhile');
  });
});
