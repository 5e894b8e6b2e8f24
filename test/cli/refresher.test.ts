import { randomBytes } from 'node:crypto';
import { describe, expect, onTestFinished, test } from 'vitest';
import { noRedis, redisServer } from '../support/engines/redis.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { seededHome } from '../support/homes/seeded-home.ts';
import { startServers } from '../support/servers/servers.ts';
import { commandLine } from '../support/transcript.ts';

describe('holdfast refresher --once', () => {
  test('reports the logins when nothing is due', async () => {
    const at = commandLine((await seededHome()).path);
    expect(await at.told(['refresher', '--once', '--keyring', 'file'])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      0 logins have new tokens. 1 login: 1 fresh, 0 due."
    `);
    expect(await at.told(['refresher', '--once', '--keyring', 'file', '--quiet'])).toBe('exit 0');
  });

  test('prints counts with --json', async () => {
    const at = commandLine((await seededHome()).path);
    const { code, out, err } = await at.run(['refresher', '--once', '--keyring', 'file', '--json']);
    expect({ code, err, ...JSON.parse(out) }).toEqual({
      code: 0,
      err: '',
      states: { fresh: 1, due: 0, 'login-required': 0, undecryptable: 0 },
      refreshed: 0,
      failed: 0,
    });
  });

  test('ends at once when there is no login', async () => {
    const at = commandLine((await temporaryHome()).path);
    expect(await at.told(['refresher', '--once'])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      0 logins have new tokens. 0 logins: 0 fresh, 0 due."
    `);
  });

  test('says why no record opens, what to do, and exits with 4', async () => {
    const at = commandLine((await seededHome()).path);
    expect(await at.told(['refresher', '--once'], { HOLDFAST_PASSPHRASE: 'another' })).toMatchInlineSnapshot(`
      "exit 4
      --- stderr
      warning: A record is not kept warm. This record is sealed under a key that cannot be read now. $HOME/keyring/sealing-key: The keyring file does not open: the passphrase is another, or the file is damaged.
        Check HOLDFAST_PASSPHRASE, or put the passphrase file that belongs to it back. The file is left as it is.
      0 logins have new tokens. 1 login: 0 fresh, 0 due, 1 that do not open here."
    `);
  });
});

describe.skipIf(noRedis)('holdfast refresher on Redis', () => {
  async function started(settings: Record<string, string>) {
    const { url } = await redisServer({ settings });
    const variables = { HOLDFAST_STORE: url, HOLDFAST_SEALING_KEY: randomBytes(32).toString('base64') };
    const at = commandLine((await temporaryHome()).path);
    const refresher = at.start(['refresher', '--every', '1'], variables);
    onTestFinished(() => refresher.kill('SIGKILL'));
    return { at, variables, refresher };
  }

  test('warns once when a crash of Redis loses acknowledged writes, and token does not warn', async () => {
    const { at, variables, refresher } = await started({ appendfsync: 'everysec' });
    await refresher.says('appendfsync everysec');
    // Another login makes the refresher read the store once more.
    const servers = await startServers();
    onTestFinished(() => servers.stop());
    await at.run(['login', servers.resource], variables);
    await refresher.says('1 login: 1 fresh');
    refresher.kill('SIGTERM');
    const { err } = await refresher.ended;
    expect(err.split('appendfsync everysec')).toHaveLength(2);
    expect(err).toContain('Set `appendfsync always`.');
    expect(await at.run(['token', servers.resource], variables)).toMatchObject({ code: 0, err: '' });
    expect((await at.run(['refresher', '--once'], variables)).err).not.toContain('appendfsync');
  });

  test('does not warn when Redis writes to disk before it answers', async () => {
    const { refresher } = await started({});
    await refresher.says('0 logins');
    refresher.kill('SIGTERM');
    expect((await refresher.ended).err).not.toContain('appendfsync');
  });
});
