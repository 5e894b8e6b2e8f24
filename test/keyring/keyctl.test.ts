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
  test('the kernel keyring fulfils the contract in a session whose keyring does not link to the user’s', async () => {
    expect(await keyctlChild(['contract', 'user'], { session: true })).toMatch(/^fulfilled/);
  });

  test('reports a session without its own keyring as absent, since its key would end with the process', async () => {
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
  ])('the probe says so when %s', async (_what, refuse, status, code) => {
    expect(await probe('user', { refuse })).toMatchObject({
      status,
      reason: expect.stringContaining(code),
      hint: expect.stringContaining('--keyring file'),
    });
  });

  test('reports a refused read as an error, never as a missing key', async () => {
    const surroundings = { refuse: 'keyctl=1' };
    const { code, out, err } = await run(keyctlCommand(['get', 'user', 'item'], surroundings), surroundings);
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(err).toContain('KeyringDeniedError');
  });

  test('refuses a key that is too long for the kernel, and states the limit', async () => {
    const { err } = await run(keyctlCommand(['set', 'process', 'item', 'x'.repeat(32_768)]));
    expect(err).toContain('1 to 32767 bytes');
  });

  test('the keyring of a process ends with it', async () => {
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
  ])(
    'the keyring of scope %s fulfils the contract, and says how long it lasts: %s',
    async (scope, lifetime) => {
      const uid = freshUser();
      expect(await keyctlChild(['contract', scope], { uid })).toBe(`fulfilled, ${lifetime}`);
      const elsewhere = { uid, session: true, service: 'some-agent' };
      expect(await keyctlChild(['contract', scope], elsewhere)).toBe(`fulfilled, ${lifetime}`);
    },
  );

  test('the keyring of a session fulfils the contract', async () => {
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

  test('the next process of a session finds its key, and another session does not', async () => {
    const uid = freshUser();
    const quoted = (args: string[]) =>
      keyctlCommand(args)
        .map((word) => `'${word}'`)
        .join(' ');
    const both = `${quoted(['set', 'session', 'item', 'kept'])} && ${quoted(['get', 'session', 'item'])}`;
    expect(await keyctlTool(both, { uid })).toBe('kept');
    expect(await keyctlChild(['get', 'session', 'item'], { uid, session: true })).toBe('nothing');
  });

  test('keyctl reads the keys Holdfast wrote, and Holdfast those of keyctl', async () => {
    const uid = freshUser();
    await keyctlChild(['set', 'user', 'ours', 'by us'], { uid });
    const printed = await keyctlTool('keyctl print $(keyctl search @u user holdfast:ours)', { uid });
    expect(printed).toBe('by us');
    await keyctlTool('printf "by keyctl" | keyctl padd user holdfast:theirs @u', { uid });
    expect(await keyctlChild(['get', 'user', 'theirs'], { uid, session: true })).toBe('by keyctl');
  });

  test('shares the kernel keyring of a program built on 99designs/keyring', async () => {
    const shared = { uid: freshUser(), service: 'docker-agent-oauth' };
    expect(await keyctlChild(['get', 'user', 'oauth:encryption-key'], shared)).toBe('nothing');
    const theirs =
      'printf hello | keyctl padd user oauth:encryption-key $(keyctl newring docker-agent-oauth @u)';
    await keyctlTool(theirs, shared);
    expect(await keyctlChild(['get', 'user', 'oauth:encryption-key'], { ...shared, session: true })).toBe(
      'hello',
    );
  });

  test('replaces a key that has expired or was revoked', async () => {
    const uid = freshUser();
    for (const end of ['keyctl timeout $KEY 1; sleep 2', 'keyctl revoke $KEY']) {
      await keyctlChild(['set', 'user', 'item', 'old'], { uid });
      await keyctlTool(`KEY=$(keyctl search @u user holdfast:item); ${end}`, { uid });
      expect(await keyctlChild(['get', 'user', 'item'], { uid })).toBe('nothing');
      await keyctlChild(['set', 'user', 'item', 'new'], { uid });
      expect(await keyctlChild(['get', 'user', 'item'], { uid })).toBe('new');
    }
  });

  test('reports a session whose keyring was revoked as absent, and its items not as missing', async () => {
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

  test('reports a full key quota as denied, and names the quota', async () => {
    const found = JSON.parse(await keyctlChild(['fill', 'user'], { uid: freshUser() })) as object;
    expect(found).toMatchObject({
      status: 'denied',
      reason: expect.stringContaining('EDQUOT'),
      hint: expect.stringContaining('/proc/key-users'),
    });
  });

  test('a probe leaves no key behind, whether refused or not', async () => {
    const uid = freshUser();
    await probe('user', { uid });
    for (const refuse of ['keyctl=1', 'keyctl=13', 'keyctl=38', 'add_key=1']) {
      await probe('user', { uid, refuse });
    }
    expect(await keyctlTool('keyctl list @u', { uid })).toContain('keyring is empty');
  });

  test('reports a kernel keyring that may not be written as denied', async () => {
    const shared = { uid: freshUser(), service: 'some-agent' };
    await keyctlTool('keyctl setperm $(keyctl newring some-agent @u) 0x0b0b0000', shared);
    expect(await probe('user', shared)).toMatchObject({
      status: 'denied',
      reason: expect.stringContaining('EACCES'),
    });
  });
});
