import { describe, expect, test } from 'vitest';
import {
  CLOSED_CHECKOUT,
  freshUser,
  keyctlChild,
  keyctlCommand,
  keyctlTool,
  NO_KEYCTL,
  NOT_ROOT,
  run,
  type Surroundings,
} from '../support/keyrings/keyctl.ts';

async function probe(scope: string, surroundings: Surroundings = {}) {
  return JSON.parse(await keyctlChild(['probe', scope], surroundings)) as Record<string, string>;
}

describe.skipIf(NO_KEYCTL)('the kernel keyring', () => {
  test('fulfils the contract in a session whose ring does not lead to the user’s', async () => {
    expect(await keyctlChild(['contract', 'user'], { session: true })).toMatch(/^fulfilled/);
  });

  test('a session without a ring of its own is absent: the key would end with the process', async () => {
    expect(await probe('session', { session: '_uid_ses.0' })).toMatchObject({
      status: 'absent',
      hint: expect.stringContaining('keyctl session'),
    });
    expect(await probe('session', { session: true })).toEqual({ status: 'usable', lifetime: 'session' });
  });

  test.each([
    ['all are refused with EPERM, as Docker does', 'add_key=1,request_key=1,keyctl=1', 'denied', 'EPERM'],
    ['all are missing', 'add_key=38,request_key=38,keyctl=38', 'absent', 'ENOSYS'],
    ['keyctl works and add_key is missing, as with Podman', 'add_key=38,request_key=38', 'absent', 'ENOSYS'],
    ['add_key alone is refused', 'add_key=1', 'denied', 'EPERM'],
    ['access is refused', 'keyctl=13', 'denied', 'EACCES'],
  ])('where %s, the probe says so', async (_what, refuse, status, code) => {
    expect(await probe('user', { refuse })).toMatchObject({
      status,
      reason: expect.stringContaining(code),
      hint: expect.stringContaining('--keyring file'),
    });
  });

  test('what is refused is an error in use too, never "not there"', async () => {
    const surroundings = { refuse: 'keyctl=1' };
    const { code, out, err } = await run(keyctlCommand(['get', 'user', 'item'], surroundings), surroundings);
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(err).toContain('KeyringDeniedError');
  });

  test('a key too long for the kernel is refused with the limit', async () => {
    const { err } = await run(keyctlCommand(['set', 'process', 'item', 'x'.repeat(32_768)]));
    expect(err).toContain('1 to 32767 bytes');
  });

  test('the ring of the process ends with it', async () => {
    expect(await probe('process')).toEqual({ status: 'usable', lifetime: 'process' });
    await keyctlChild(['set', 'process', 'short-lived', 'x']);
    expect(await keyctlChild(['get', 'process', 'short-lived'])).toBe('nothing');
  });
});

describe.skipIf(NO_KEYCTL ?? NOT_ROOT ?? CLOSED_CHECKOUT)('the kernel keyring of an ordinary user', () => {
  test.each([
    ['user', 'boot'],
    ['usersession', 'boot'],
    ['persistent', 'three-days'],
    ['process', 'process'],
  ])('%s fulfils the contract, and says that it lasts: %s', async (scope, lifetime) => {
    const uid = freshUser();
    expect(await keyctlChild(['contract', scope], { uid })).toBe(`fulfilled, ${lifetime}`);
    const elsewhere = { uid, session: true, service: 'some-agent' };
    expect(await keyctlChild(['contract', scope], elsewhere)).toBe(`fulfilled, ${lifetime}`);
  });

  test('the ring of the session fulfils it too', async () => {
    const surroundings = { uid: freshUser(), session: true };
    expect(await keyctlChild(['contract', 'session'], surroundings)).toMatch(/^fulfilled/);
  });

  test.each(['user', 'usersession', 'persistent'])(
    'a key in %s outlasts the process and the session that made it',
    async (scope) => {
      const uid = freshUser();
      await keyctlChild(['set', scope, 'item', 'kept'], { uid, session: true });
      expect(await keyctlChild(['get', scope, 'item'], { uid })).toBe('kept');
      expect(await keyctlChild(['get', scope, 'item'], { uid, session: true })).toBe('kept');
      expect(await keyctlChild(['delete', scope, 'item'], { uid, session: true })).toBe('true');
    },
  );

  test('a key in the session is there for the session’s next process, and for no other session', async () => {
    const uid = freshUser();
    const quoted = (args: string[]) =>
      keyctlCommand(args)
        .map((word) => `'${word}'`)
        .join(' ');
    const both = `${quoted(['set', 'session', 'item', 'kept'])} && ${quoted(['get', 'session', 'item'])}`;
    expect(await keyctlTool(both, { uid })).toBe('kept');
    expect(await keyctlChild(['get', 'session', 'item'], { uid, session: true })).toBe('nothing');
  });

  test('keyctl reads what we wrote, and we read what keyctl wrote', async () => {
    const uid = freshUser();
    await keyctlChild(['set', 'user', 'ours', 'by us'], { uid });
    const printed = await keyctlTool('keyctl print $(keyctl search @u user holdfast:ours)', { uid });
    expect(printed).toBe('by us');
    await keyctlTool('printf "by keyctl" | keyctl padd user holdfast:theirs @u', { uid });
    expect(await keyctlChild(['get', 'user', 'theirs'], { uid, session: true })).toBe('by keyctl');
  });

  test('the ring of a program built on 99designs/keyring is shared with it', async () => {
    const shared = { uid: freshUser(), service: 'docker-agent-oauth' };
    expect(await keyctlChild(['get', 'user', 'oauth:encryption-key'], shared)).toBe('nothing');
    const theirs =
      'printf hello | keyctl padd user oauth:encryption-key $(keyctl newring docker-agent-oauth @u)';
    await keyctlTool(theirs, shared);
    expect(await keyctlChild(['get', 'user', 'oauth:encryption-key'], { ...shared, session: true })).toBe(
      'hello',
    );
  });

  test('a key that has expired or was revoked is gone, and a new one takes its place', async () => {
    const uid = freshUser();
    for (const end of ['keyctl timeout $KEY 1; sleep 2', 'keyctl revoke $KEY']) {
      await keyctlChild(['set', 'user', 'item', 'old'], { uid });
      await keyctlTool(`KEY=$(keyctl search @u user holdfast:item); ${end}`, { uid });
      expect(await keyctlChild(['get', 'user', 'item'], { uid })).toBe('nothing');
      await keyctlChild(['set', 'user', 'item', 'new'], { uid });
      expect(await keyctlChild(['get', 'user', 'item'], { uid })).toBe('new');
    }
  });

  test('a session whose ring was revoked is absent, and its items are not "not there"', async () => {
    const uid = freshUser();
    const [probing, getting] = [
      ['probe', 'session'],
      ['get', 'session', 'item'],
    ].map((args) => keyctlCommand(args).join(' '));
    expect(await keyctlTool(`keyctl revoke @s; ${probing}`, { uid })).toContain('"status":"absent"');
    expect(await keyctlTool(`keyctl revoke @s; ${getting} 2>&1 || true`, { uid })).toContain(
      'KeyringAbsentError',
    );
  });

  test('a user whose quota of keys is used up is denied, and told of it', async () => {
    const found = JSON.parse(await keyctlChild(['fill', 'user'], { uid: freshUser() })) as object;
    expect(found).toMatchObject({
      status: 'denied',
      reason: expect.stringContaining('EDQUOT'),
      hint: expect.stringContaining('/proc/key-users'),
    });
  });

  test('a probe leaves no key behind, refused or not', async () => {
    const uid = freshUser();
    await probe('user', { uid });
    for (const refuse of ['keyctl=1', 'keyctl=13', 'keyctl=38', 'add_key=1']) {
      await probe('user', { uid, refuse });
    }
    expect(await keyctlTool('keyctl list @u', { uid })).toContain('keyring is empty');
  });

  test('a ring that may not be written is denied', async () => {
    const shared = { uid: freshUser(), service: 'some-agent' };
    await keyctlTool('keyctl setperm $(keyctl newring some-agent @u) 0x0b0b0000', shared);
    expect(await probe('user', shared)).toMatchObject({
      status: 'denied',
      reason: expect.stringContaining('EACCES'),
    });
  });
});
