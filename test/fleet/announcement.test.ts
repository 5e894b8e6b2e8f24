import { describe, expect, test } from 'vitest';
import { AbortedError, StoreUnreachableError } from '../../src/errors.ts';
import { SharedMemory } from '../support/engines/memory-engine.ts';
import { gate } from '../support/homes/store.ts';
import {
  authorizationServer,
  engineProcess,
  LEASE_MS,
  machine,
  PATIENCE_MS,
  putLogin,
  RESOURCE,
  storedAt,
} from '../support/servers/lab.ts';

/*
 * Between its claim and its first byte, a process announces in the engine that it is about to send, if the record is
 * still the one it claimed. A late answer and this announcement detect each other, whichever comes first.
 */

/** A strict server answers no token twice, so nobody announces a request there. */
const KINDS = [
  { mode: 'grace', replay: 'window' },
  { mode: 'replay', replay: undefined },
  { mode: 'successor-used', replay: 'window' },
] as const;

/** A process that has an answer and has lost its lease, and a process that may claim next. */
async function lateAnswer({ mode, replay }: (typeof KINDS)[number]) {
  const server = await authorizationServer(mode);
  const at = await machine({ replay });
  const shared = new SharedMemory();
  const { family, refreshToken } = await server.begin();
  const late = engineProcess(shared, at);
  await putLogin(late.store, at, { server, refreshToken });
  const [answered, goOn] = [gate(), gate()];
  server.hooks.after = async (n) => {
    if (n !== 1) return;
    answered.open();
    await goOn.opened;
  };
  const token = late.vault.token(RESOURCE);
  await answered.opened;
  late.engine.cut.add('renew');
  shared.advance(LEASE_MS + PATIENCE_MS + 100);
  const next = engineProcess(shared, at);
  return { server, shared, at, family, late, token, goOn, next };
}

describe.each(KINDS)('an announced request, at a server of the kind $mode', (kind) => {
  test('a process that claims while a late answer is stored sends nothing, and uses that answer', async () => {
    const { server, at, family, late, token, goOn, next } = await lateAnswer(kind);
    const [announcing, stored] = [gate(), gate()];
    const renew = next.engine.renew.bind(next.engine);
    next.engine.renew = async (...given) => {
      announcing.open();
      await stored.opened;
      return renew(...given);
    };
    const nextToken = next.vault.token(RESOURCE);
    await announcing.opened;
    goOn.open();
    const { generation } = await token;
    stored.open();
    expect((await nextToken).generation).toBe(generation);
    expect(server.presented).toHaveLength(1);
    expect((await storedAt(late.store, at))?.refreshToken === server.live(family)).toBe(true);
  });

  test('a process does not send its request if the announcement does not reach the engine', async () => {
    const { server, at, family, late, token, goOn, next } = await lateAnswer(kind);
    const giveUp = new AbortController();
    let announcements = 0;
    next.engine.renew = async () => {
      announcements += 1;
      if (announcements === 3) giveUp.abort();
      throw new StoreUnreachableError('The network to the engine is down.');
    };
    const refresh = next.vault.token(RESOURCE, { signal: giveUp.signal });
    await expect(refresh).rejects.toBeInstanceOf(AbortedError);
    expect(server.presented).toHaveLength(1);
    late.engine.cut.clear();
    goOn.open();
    await token;
    expect((await storedAt(late.store, at))?.refreshToken === server.live(family)).toBe(true);
    expect(server.presented).toHaveLength(1);
  });
});
