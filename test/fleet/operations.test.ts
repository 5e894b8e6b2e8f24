import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import { StorageFullError } from '../../src/errors.ts';
import { Secret } from '../../src/secret.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { SharedMemory } from '../support/engines/memory-engine.ts';
import { gate, storeAround } from '../support/homes/store.ts';
import {
  authorizationServer,
  credentialsAt,
  directoryProcess,
  ended,
  engineProcess,
  kill,
  LEASE_MS,
  machine,
  PATIENCE_MS,
  putLogin,
  RESOURCE,
  storedAt,
} from '../support/servers/lab.ts';

/* Operations that move or end a record while answers are on their way or wait in the outbox. Nothing may be lost. */

/** A login at a strict server and one engine, with a second sealing key if `rekey` uses one. */
async function strictFleet(leftMs = -1000) {
  const server = await authorizationServer('strict');
  const at = await machine({ replay: 'strict' });
  const shared = new SharedMemory();
  const { family, refreshToken } = await server.begin();
  const first = engineProcess(shared, at);
  await putLogin(first.store, at, { server, refreshToken, leftMs });
  const open = () => engineProcess(shared, at);
  /** A process whose new tokens are still on their way to it. */
  const stoppedWithAnswer = async () => {
    const [answered, go] = [gate(), gate()];
    server.hooks.after = async () => {
      answered.open();
      await go.opened;
    };
    const holder = open();
    const token = ended(holder.vault.token(RESOURCE, { rejectedGeneration: 1 }));
    await answered.opened;
    server.hooks.after = undefined;
    return { holder, token, goOn: () => go.open() };
  };
  const stored = () => storedAt(first.store, at);
  return { server, at, shared, family, open, stoppedWithAnswer, stored };
}

describe('an answer whose record has moved in the meantime', () => {
  test('writes an answer to the new place of its record after a rekey overtook it', async () => {
    const { server, at, shared, family, open, stoppedWithAnswer, stored } = await strictFleet(60_000);
    await at.renewKey();
    const { holder, token, goOn } = await stoppedWithAnswer();
    holder.engine.cut.add('renew');
    shared.advance(LEASE_MS + PATIENCE_MS + 100);
    expect(await open().vault.admin.rekey()).toMatchObject({ moved: 1, left: [] });
    goOn();
    expect(await token).toBe('generation 2');
    expect((await stored())?.refreshToken === server.live(family)).toBe(true);
    expect(await ended(open().vault.token(RESOURCE, { rejectedGeneration: 1 }))).toBe('generation 2');
    expect(server.hasEnded(family)).toBe(false);
  });

  test('a rekey that the network delayed does not move a record that is being refreshed', async () => {
    const { server, at, shared, family, open, stored } = await strictFleet();
    await at.renewKey();
    const [moving, heal] = [gate(), gate()];
    const rekeying = open();
    const move = rekeying.engine.move.bind(rekeying.engine);
    rekeying.engine.move = async (...given) => {
      moving.open();
      await heal.opened;
      return move(...given);
    };
    const rekeyed = rekeying.vault.admin.rekey();
    await moving.opened;
    rekeying.engine.cut.add('renew');
    shared.advance(LEASE_MS + PATIENCE_MS + 1000);
    const [answered, go] = [gate(), gate()];
    server.hooks.after = async () => {
      answered.open();
      await go.opened;
    };
    const token = ended(open().vault.token(RESOURCE));
    await answered.opened;
    heal.open();
    expect(await rekeyed).toMatchObject({ moved: 0, left: [{ resource: RESOURCE }] });
    go.open();
    expect(await token).toBe('generation 2');
    expect((await stored())?.refreshToken === server.live(family)).toBe(true);
    expect(server.hasEnded(family)).toBe(false);
  });

  test('a rekey does not replace a later login with the one before', async () => {
    const { server, at, shared, open, stored } = await strictFleet();
    await at.renewKey();
    // It has the middle key, but not the newest one.
    const other = await machine({ key: await readFile(at.keyFile, 'utf8') });
    await at.renewKey();
    const [claiming, go] = [gate(), gate()];
    const rekeying = open();
    const claim = rekeying.engine.claim.bind(rekeying.engine);
    rekeying.engine.claim = async (...given) => {
      claiming.open();
      await go.opened;
      return claim(...given);
    };
    const rekeyed = rekeying.vault.admin.rekey();
    await claiming.opened;
    const { refreshToken } = await server.begin();
    await putLogin(engineProcess(shared, other).store, other, { server, refreshToken });
    go.open();
    expect(await rekeyed).toMatchObject({ moved: 0, left: [{ resource: RESOURCE }] });
    expect((await stored())?.refreshToken === refreshToken).toBe(true);
    expect(await open().vault.admin.rekey()).toMatchObject({ moved: 1, left: [] });
    expect((await stored())?.refreshToken === refreshToken).toBe(true);
  });

  describe('a rekey of the newest of two logins', () => {
    /** A process that reads the store while that rekey changes it. */
    async function overtaken() {
      const fleet = await strictFleet(60_000);
      const { server, at, shared, open } = fleet;
      await at.renewKey();
      const { refreshToken } = await server.begin();
      const tokens = {
        accessToken: new Secret('later'),
        refreshToken: new Secret(refreshToken),
        tokenType: 'Bearer',
        obtainedAt: Date.now(),
      };
      const login = { server, refreshToken, more: { tokens } };
      // It dies before it removes the record of the earlier login, and so does the rekey.
      const dies = engineProcess(shared, at);
      dies.engine.cut.add('remove');
      await putLogin(dies.store, at, login);
      await at.renewKey();
      const { engine, vault } = open();
      const before = engine.kidsOf.bind(engine) as (...given: unknown[]) => Promise<never>;
      Object.assign(engine, {
        kidsOf: async (...given: unknown[]) => {
          const found = await before(...given);
          Object.assign(engine, { kidsOf: before });
          const rekeying = open();
          rekeying.engine.cut.add('remove');
          expect(await rekeying.vault.admin.rekey()).toMatchObject({
            moved: 1,
            left: [{ resource: RESOURCE }],
          });
          return found;
        },
      });
      return { ...fleet, vault, refreshToken };
    }

    test('nobody gets the token of the older login during the rekey', async () => {
      const { vault } = await overtaken();
      expect((await vault.token(RESOURCE)).token.reveal()).toBe('later');
    });

    test('a logout during the rekey ends both logins', async () => {
      const { vault, server, refreshToken, stored } = await overtaken();
      expect(await vault.logout(RESOURCE)).toMatchObject({ removed: 2, revocation: 'revoked' });
      expect(server.revoked).toContain(refreshToken);
      expect(await stored()).toBeUndefined();
    });
  });

  test('keeps a login that was to be exported while its tokens were on their way', async () => {
    const { server, shared, family, open, stoppedWithAnswer } = await strictFleet(60_000);
    const { holder, token, goOn } = await stoppedWithAnswer();
    holder.engine.cut.add('renew');
    shared.advance(LEASE_MS + PATIENCE_MS + 100);
    let exported = '';
    const give = () =>
      open().vault.transfer.export(RESOURCE, {
        mode: 'move',
        deliver: async ({ json }) => {
          exported = json.reveal();
        },
      });
    await expect(give()).rejects.toMatchObject({ code: 'lock-timeout' });
    expect(exported).toBe('');
    goOn();
    expect(await token).toBe('generation 2');
    await give();
    expect(exported).toContain(server.live(family));
    expect(server.hasEnded(family)).toBe(false);
  });

  test('revokes an answer whose login was removed, and reports it', async () => {
    const { server, shared, family, open, stoppedWithAnswer, stored } = await strictFleet(60_000);
    const { holder, token, goOn } = await stoppedWithAnswer();
    holder.engine.cut.add('renew');
    shared.advance(LEASE_MS + PATIENCE_MS + 100);
    expect((await open().vault.logout(RESOURCE)).removed).toBe(1);
    goOn();
    expect(await token).toBe('LoginRequiredError');
    expect(server.revoked).toContain(server.live(family));
    expect(holder.events.join()).toContain('the new tokens were revoked');
    expect(await stored()).toBeUndefined();
  });

  test('revokes an answer that could not be stored if its login has been removed since', async () => {
    const { server, shared, family, open } = await strictFleet();
    const away = open();
    away.engine.cut.add('write').add('putOutbox');
    await away.vault.token(RESOURCE);
    away.engine.cut.add('renew').add('read').add('kidsOf');
    shared.advance(LEASE_MS + PATIENCE_MS + 100);
    // Another machine, which does not see the unsaved tokens on this one.
    const { at } = { at: await machine() };
    const elsewhere = engineProcess(shared, at);
    await elsewhere.engine.remove(
      [...shared.rows.keys()].map(addressOf)[0] ?? { kid: '', id: '' },
      undefined,
    );
    away.engine.cut.clear();
    await expect.poll(() => server.revoked.includes(server.live(family)), { timeout: 20_000 }).toBe(true);
    await expect.poll(() => away.events.join()).toContain('the new tokens were revoked');
  });
});

function addressOf(text: string) {
  const [kid = '', id = ''] = text.split('/');
  return { kid, id };
}

describe('tokens in the outbox of a dead process', () => {
  test('a rekey stores tokens from the outbox under the new key: directory', async () => {
    const server = await authorizationServer('strict');
    const at = await machine({ replay: 'strict' });
    const disk = new DirectoryStore(at.layout, at.environment);
    const { family, refreshToken } = await server.begin();
    await putLogin(disk, at, { server, refreshToken });
    const full = storeAround(disk, {
      cas: async () => {
        throw new StorageFullError('No space is left.');
      },
    });
    const one = directoryProcess(at, full);
    await one.vault.token(RESOURCE);
    await one.vault.close();
    await at.renewKey();
    expect(await directoryProcess(at).vault.admin.rekey()).toMatchObject({ moved: 1, left: [] });
    const next = directoryProcess(at);
    expect(await ended(next.vault.token(RESOURCE, { rejectedGeneration: 1 }))).toBe('generation 2');
    expect((await storedAt(disk, at))?.refreshToken === server.live(family)).toBe(true);
    expect(server.hasEnded(family)).toBe(false);
  });

  test.each(['a row of the engine', 'a file'])(
    'a rekey stores tokens from the outbox: engine, %s',
    async (where) => {
      const { server, at, shared, family, open, stored } = await strictFleet();
      const one = open();
      one.engine.cut.add('write');
      if (where === 'a file') one.engine.cut.add('putOutbox');
      await one.vault.token(RESOURCE);
      kill(one);
      shared.advance(LEASE_MS + PATIENCE_MS + 100);
      await at.renewKey();
      expect(await open().vault.admin.rekey()).toMatchObject({ moved: 1, left: [] });
      expect((await stored())?.refreshToken === server.live(family)).toBe(true);
      expect(server.hasEnded(family)).toBe(false);
    },
  );

  test.each(['logout', 'export'])('a %s finds the tokens in the outbox of a dead process', async (what) => {
    const { server, shared, family, open } = await strictFleet();
    const one = open();
    one.engine.cut.add('write').add('putOutbox');
    await one.vault.token(RESOURCE);
    const live = server.live(family);
    kill(one);
    shared.advance(LEASE_MS + PATIENCE_MS + 100);
    if (what === 'logout') {
      expect(await open().vault.logout(RESOURCE)).toMatchObject({ removed: 1, revocation: 'revoked' });
      expect(server.revoked[0] === live).toBe(true);
      return;
    }
    // Only the next refresh finds out that the first holder is dead.
    expect(await ended(open().vault.token(RESOURCE))).toBe('generation 2');
    let exported = '';
    await open().vault.transfer.export(RESOURCE, {
      mode: 'move',
      deliver: async ({ json }) => {
        exported = json.reveal();
      },
    });
    expect(exported.includes(live)).toBe(true);
  });
});

describe('tokens that a dead process saved in the outbox after a logout', () => {
  async function savedAfterLogout(where: string) {
    const fleet = await strictFleet(60_000);
    const { holder, token, goOn } = await fleet.stoppedWithAnswer();
    holder.engine.cut.add('renew').add('write');
    if (where === 'a file') holder.engine.cut.add('putOutbox');
    const removed = gate();
    // Its refresh begins before the logout, and its entry comes after it.
    const put = holder.engine.putOutbox.bind(holder.engine);
    holder.engine.putOutbox = async (...given) => {
      await removed.opened;
      return put(...given);
    };
    fleet.shared.advance(LEASE_MS + PATIENCE_MS + 100);
    goOn();
    expect((await fleet.open().vault.logout(RESOURCE)).removed).toBe(1);
    holder.engine.cut.add('read').add('kidsOf').add('version');
    removed.open();
    expect(await token).toBe('generation 2');
    kill(holder);
    return fleet;
  }

  test.each(['a row of the engine', 'a file'])(
    'the next logout revokes and removes tokens that were saved after a logout: %s',
    async (where) => {
      const { server, at, shared, family, open } = await savedAfterLogout(where);
      const live = server.live(family);
      expect(server.revoked).not.toContain(live);
      expect(await open().vault.logout(RESOURCE)).toMatchObject({ removed: 0 });
      expect(server.revoked).toContain(live);
      const before = server.revoked.length;
      const { credentialStore } = credentialsAt(engineProcess(shared, at).store, at);
      await credentialStore.endRemoved(CredentialId.of(RESOURCE, undefined));
      await open().vault.logout(RESOURCE);
      expect(server.revoked).toHaveLength(before);
    },
  );
});

test.each([
  ['is revoked where the new login has another client', 'another client', true],
  ['is not revoked where the new login has the same client, since that could end it too', 'lab', false],
])('an answer that arrives after a logout and a new login %s', async (_what, clientId, isRevoked) => {
  const { server, at, shared, family, open, stoppedWithAnswer, stored } = await strictFleet(60_000);
  const { holder, token, goOn } = await stoppedWithAnswer();
  holder.engine.cut.add('renew');
  shared.advance(LEASE_MS + PATIENCE_MS + 100);
  await open().vault.logout(RESOURCE);
  const { family: next, refreshToken } = await server.begin();
  const client = { clientId, authMethod: 'none', redirectUris: [], source: 'dynamic' } as const;
  await putLogin(open().store, at, { server, refreshToken, leftMs: 60_000, more: { client } });
  goOn();
  // The caller had refused generation 1 of any login, so the new login is refreshed.
  expect(await token).toBe('generation 2');
  expect(server.revoked.includes(server.live(family) ?? '')).toBe(isRevoked);
  expect((await stored())?.refreshToken === server.live(next)).toBe(true);
  expect(server.hasEnded(next)).toBe(false);
  expect(holder.events.join().includes('the new tokens were revoked')).toBe(isRevoked);
});

describe('an operation on one login in a process that serves another', () => {
  const OTHER = 'https://other.example.com/mcp';

  test('keeps a token in memory that a call got during a logout elsewhere', async () => {
    const { server, at, open } = await strictFleet(60_000);
    const one = open();
    const { refreshToken } = await server.begin();
    await putLogin(one.store, at, { server, refreshToken, leftMs: 60_000, resource: OTHER });
    const read = one.engine.read.bind(one.engine);
    one.engine.read = async (...given) => {
      one.engine.read = read;
      await one.vault.logout(OTHER);
      return read(...given);
    };
    const { token } = await one.vault.token(RESOURCE);
    kill(one);
    expect((await one.vault.token(RESOURCE)).token.equals(token)).toBe(true);
  });

  test.each(['logout', 'export', 'rekey'])(
    'keeps a token in memory when the engine is unreachable after the %s of another login',
    async (what) => {
      const { server, at, open } = await strictFleet(60_000);
      const one = open();
      const { refreshToken } = await server.begin();
      await putLogin(one.store, at, { server, refreshToken, leftMs: 60_000, resource: OTHER });
      const before = await one.vault.token(RESOURCE);
      if (what === 'logout') await one.vault.logout(OTHER);
      if (what === 'export')
        await one.vault.transfer.export(OTHER, { mode: 'move', deliver: async () => {} });
      if (what === 'rekey') {
        await at.renewKey();
        await one.vault.admin.rekey();
      }
      kill(one);
      expect((await one.vault.token(RESOURCE)).token.equals(before.token)).toBe(true);
      if (what === 'export') await expect(one.vault.token(OTHER)).rejects.toThrow();
    },
  );
});
