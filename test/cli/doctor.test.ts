import { spawnSync } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { contentsOf, copyDirectory } from '../support/homes/disk.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { NO_SECRET_SERVICE, privateBus } from '../support/keyrings/secret-service.ts';
import { requirement } from '../support/requirement.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { type CommandLine, commandLine } from '../support/transcript.ts';

const root = requirement('it is not Linux as root', process.geteuid?.() === 0);

let servers: Servers;
let template: string;
beforeAll(async () => {
  servers = await startServers();
  template = join(await mkdtemp(join(tmpdir(), 'holdfast-test-')), 'home');
  await commandLine(template).run(['login', servers.resource]);
});
afterAll(async () => {
  await Promise.all([servers.stop(), rm(join(template, '..'), { recursive: true })]);
});

async function loggedIn(): Promise<CommandLine> {
  const { path } = await temporaryHome();
  await copyDirectory(template, path);
  return commandLine(path, [servers]);
}

/** Returns the transcript lines of some checks; the file system line depends on this machine. */
async function checks(
  at: CommandLine,
  wanted: RegExp,
  variables: Readonly<Record<string, string>> = {},
  args: readonly string[] = [],
): Promise<string> {
  const told = await at.told(['doctor', ...args], variables);
  const rows = told.split(/\n(?=\S)/);
  return rows.filter((row) => /^exit|^\d+ check|^All is/.test(row) || wanted.test(row.slice(6))).join('\n');
}

async function recordFile(at: CommandLine): Promise<string> {
  const credentials = join(at.home, 'credentials');
  const [kid = ''] = await readdir(credentials);
  const [file = ''] = await readdir(join(credentials, kid));
  return join(credentials, kid, file);
}

describe('holdfast doctor', () => {
  test('reports that all is well without asking a server', async () => {
    const at = await loggedIn();
    const before = await servers.counters();
    const told = await at.told(['doctor']);
    expect(told.replace(/(file system {2}).*/, '$1…')).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      ok    versions     Holdfast V.V.V, Node vN.N.N, linux x64.
      ok    home         $HOME is yours, and closed to others.
      ok    file system  …
      ok    store        A record was written, read back, compared and removed.
      ok    lock         flock works there: a refresh happens once, whatever number of processes ask.
      ok    keyring      New logins are sealed under a key in file; an item was kept, read and removed there.
      ok    keyring      secret-service is passed over (absent): The Secret Service is not reachable: there is no D-Bus session bus here.
                         → In a desktop session it is there by itself. Over SSH: export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus
      ok    passphrase   The file keyring is opened by $HOME/keyring/passphrase: who can read that can open the logins.
      ok    records      1 login opens.
      ok    clock        It is TIME by this machine.
      ok    network      Certificates are checked against the authorities that come with Node.
      ok    leniencies   No server is allowed what a strict client refuses.
      --- stderr
      Checking …
      All is well."
    `);
    expect(await servers.counters()).toEqual(before);
  });

  test('leaves the login unchanged', async () => {
    const at = await loggedIn();
    const logins = async () =>
      (await contentsOf(at.home)).filter((line) => /credentials|keyring|quarantine/.test(line));
    const before = await logins();
    await Promise.all([at.run(['doctor']), at.run(['doctor']), at.run(['doctor', '--json'])]);
    expect(await logins()).toEqual(before);
  });

  test('prints the findings and every tried keyring with --json, and no secret', async () => {
    const at = await loggedIn();
    const [json, plain, token] = await Promise.all([
      at.run(['doctor', '--json']),
      at.run(['doctor']),
      at.run(['token', servers.resource]),
    ]);
    expect({ code: json.code, err: json.err }).toEqual({ code: 0, err: '' });
    const { findings, tiers } = JSON.parse(json.out);
    expect(findings).toContainEqual({ check: 'records', status: 'ok', message: '1 login opens.' });
    const outcomes = tiers.map(({ id, outcome }: Record<string, string>) => `${id} ${outcome}`);
    expect(outcomes).toEqual(
      expect.arrayContaining(['secret-service passed-over', 'file usable', 'memory usable']),
    );
    const passphrase = await readFile(join(at.home, 'keyring', 'passphrase'), 'utf8');
    for (const secret of [token.out.trim(), passphrase.trim()]) {
      expect(secret.length).toBeGreaterThan(20);
      for (const { out, err } of [json, plain]) expect(`${out}${err}`.includes(secret)).toBe(false);
    }
  });

  test('creates the home on a new machine and finds nothing wrong', async () => {
    const { path } = await temporaryHome();
    const at = commandLine(path);
    expect(await checks(at, /^(home|keyring|passphrase|records)/)).toMatchInlineSnapshot(`
      "exit 0
      ok    home         $HOME was not there; the next checks make it, closed to others.
      ok    keyring      New logins are sealed under a key in file; an item was kept, read and removed there.
      ok    keyring      secret-service is passed over (absent): The Secret Service is not reachable: there is no D-Bus session bus here.
                         → In a desktop session it is there by itself. Over SSH: export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus
      ok    passphrase   The file keyring is opened by $HOME/keyring/passphrase: who can read that can open the logins.
      ok    records      0 logins open.
      All is well."
    `);
    expect((await contentsOf(path)).filter((line) => !/^0[67]00 /.test(line))).toEqual([]);
  });

  test('names each directory that is open to others, and the command that closes it', async () => {
    const at = await loggedIn();
    await chmod(at.home, 0o755);
    await chmod(join(at.home, 'locks'), 0o770);
    expect(await checks(at, /^(home|store|records)/)).toMatchInlineSnapshot(`
      "exit 1
      fail  home         $HOME is open to other users (mode 0755).
                         → Close it: chmod -R go= $HOME
      fail  home         $HOME/locks is open to other users (mode 0770).
                         → Close it: chmod -R go= $HOME
      fail  store        Could not be checked; the reason stands above, at home.
      fail  records      Could not be checked; the reason stands above, at home.
      6 checks failed, 1 warning."
    `);
    await chmod(at.home, 0o700);
    await chmod(join(at.home, 'locks'), 0o700);
    expect((await at.run(['doctor'])).code).toBe(0);
  });

  test('names the record that is open to others', async () => {
    const at = await loggedIn();
    await chmod(await recordFile(at), 0o644);
    expect(
      (await checks(at, /^records/)).replaceAll(/\/[\w-]{22}\/[\w-]{43}\.jwe/g, '/KID/ID.jwe'),
    ).toMatchInlineSnapshot(`
      "exit 1
      ok    records      0 logins open.
      fail  records      1 record does not open (RECORD-ID…). $HOME/credentials/KID/ID.jwe is open to other users (mode 0644).
                         → Close it: chmod -R go= $HOME
      1 check failed, 0 warnings."
    `);
  });

  test.skipIf(root !== undefined)('names the owner of a home that belongs to somebody else', async () => {
    const at = await loggedIn();
    await chown(at.home, 12345, 12345);
    expect(await checks(at, /^home/)).toMatchInlineSnapshot(`
      "exit 1
      fail  home         $HOME belongs to user 12345, not to you (0).
                         → If it should be yours: sudo chown -R 0 $HOME. Otherwise set HOLDFAST_HOME to a directory of your own.
      5 checks failed, 1 warning."
    `);
  });

  test.skipIf(root !== undefined)('warns that a tmpfs does not survive a reboot', async () => {
    const { path } = await temporaryHome();
    await mkdir(path);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=0700', 'holdfast-test', path]);
    expect(mounted.status).toBe(0);
    onTestFinished(() => void spawnSync('umount', ['--lazy', path]));
    expect(await checks(commandLine(path), /^file system/)).toMatchInlineSnapshot(`
      "exit 0
      warn  file system  tmpfs: what is stored is gone at the next boot, or when the container ends.
                         → Set HOLDFAST_HOME to a directory on a disk or a volume.
      0 checks failed, 1 warning."
    `);
  });

  test('names the passphrase that does not open the keyring file', async () => {
    const at = await loggedIn();
    const before = await contentsOf(join(at.home, 'keyring'));
    const told = await checks(at, /^(keyring|passphrase|records)/, { HOLDFAST_PASSPHRASE: 'not the one' });
    expect(told).toMatchInlineSnapshot(`
      "exit 1
      fail  keyring      Only memory is left: no login survives its process.
                         → Mend one of the keyrings below, or set HOLDFAST_HOME to a directory that can be written.
      ok    keyring      secret-service is passed over (absent): The Secret Service is not reachable: there is no D-Bus session bus here.
                         → In a desktop session it is there by itself. Over SSH: export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus
      warn  keyring      file is passed over (broken): $HOME/keyring/sealing-key: The keyring file does not open: the passphrase is another, or the file is damaged.
                         → Check HOLDFAST_PASSPHRASE, or put the passphrase file that belongs to it back. The file is left as it is.
      ok    passphrase   The file keyring is opened by HOLDFAST_PASSPHRASE: who can read that can open the logins.
      ok    records      0 logins open.
      warn  records      1 record does not open (RECORD-ID…). This record is sealed under a key that cannot be read now. $HOME/keyring/sealing-key: The keyring file does not open: the passphrase is another, or the file is damaged.
                         → Check HOLDFAST_PASSPHRASE, or put the passphrase file that belongs to it back. The file is left as it is.
      1 check failed, 2 warnings."
    `);
    expect(await contentsOf(join(at.home, 'keyring'))).toEqual(before);
  });

  test('names the source of the passphrase, not its value', async () => {
    const { path } = await temporaryHome();
    const told = await checks(commandLine(path), /^passphrase/, { HOLDFAST_PASSPHRASE: 'correct horse' });
    expect(told).toMatchInlineSnapshot(`
      "exit 0
      ok    passphrase   The file keyring is opened by HOLDFAST_PASSPHRASE: who can read that can open the logins.
      All is well."
    `);
  });

  test('names the damaged record and its file, and how to recover', async () => {
    const at = await loggedIn();
    const file = await recordFile(at);
    await writeFile(file, 'no record');
    const told = await checks(at, /^records/);
    expect(told.replace(file.slice(at.home.length), '/FILE')).toMatchInlineSnapshot(`
      "exit 1
      ok    records      0 logins open.
      fail  records      1 record does not open (RECORD-ID…). The record does not open: it is not five parts of base64url. Its file: $HOME/FILE
                         → Log in again where holdfast list misses one; the record is then moved to quarantine/, not deleted. Or remove it: holdfast logout --forget
      1 check failed, 0 warnings."
    `);
    await at.run(['login', servers.resource]);
    expect(await checks(at, /^records/)).toMatchInlineSnapshot(`
      "exit 0
      ok    records      1 login opens.
      warn  records      1 damaged record lies in quarantine.
                         → They are kept until you remove them: ls $HOME/quarantine
      0 checks failed, 1 warning."
    `);
  });

  test('says that only the chosen keyring is considered', async () => {
    const at = await loggedIn();
    expect(await checks(at, /^keyring/, {}, ['--keyring', 'file'])).toMatchInlineSnapshot(`
      "exit 0
      ok    keyring      Only file is considered: --keyring, HOLDFAST_KEYRING or config.json says so.
      ok    keyring      New logins are sealed under a key in file; an item was kept, read and removed there.
      All is well."
    `);
    expect(await checks(at, /^keyring/, { HOLDFAST_KEYRING: 'native' })).toMatchInlineSnapshot(`
      "exit 1
      ok    keyring      Only native is considered: --keyring, HOLDFAST_KEYRING or config.json says so.
      fail  keyring      The Secret Service is not reachable: there is no D-Bus session bus here.
                         → In a desktop session it is there by itself. Over SSH: export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus
      3 checks failed, 0 warnings."
    `);
    expect(await checks(at, /^keyring/, { HOLDFAST_KEYRING: 'memory' })).toMatchInlineSnapshot(`
      "exit 1
      ok    keyring      Only memory is considered: --keyring, HOLDFAST_KEYRING or config.json says so.
      fail  keyring      Only memory is left: no login survives its process.
                         → Mend one of the keyrings below, or set HOLDFAST_HOME to a directory that can be written.
      1 check failed, 1 warning."
    `);
  });

  test('fails when NODE_TLS_REJECT_UNAUTHORIZED=0 disables certificate checks', async () => {
    const told = await checks(await loggedIn(), /^network/, { NODE_TLS_REJECT_UNAUTHORIZED: '0' });
    expect(told).toMatch(/^exit 1\b/);
    expect(told).toContain(
      'fail  network      NODE_TLS_REJECT_UNAUTHORIZED=0 tells Node to check no certificates.',
    );
    expect(told).toContain('unset NODE_TLS_REJECT_UNAUTHORIZED');
    expect(told).not.toContain('Certificates are checked');
  });

  test('names proxy and certificate settings without their values', async () => {
    const at = await loggedIn();
    const told = await checks(at, /^network/, {
      https_proxy: 'http://ada:secret@proxy.example.com:3128',
      SSL_CERT_FILE: '/etc/ssl/company.pem',
    });
    expect(told).toMatchInlineSnapshot(`
      "exit 0
      ok    network      Requests go through the proxy of HTTPS_PROXY, but for the hosts of NO_PROXY.
      ok    network      Certificate settings: SSL_CERT_FILE. Node reads NODE_EXTRA_CA_CERTS; the others only with --use-openssl-ca.
      All is well."
    `);
  });

  test('says that the session bus does not exist', async () => {
    const at = await loggedIn();
    const variables = { DBUS_SESSION_BUS_ADDRESS: `unix:path=${join(at.home, 'bus')}` };
    expect(await checks(at, /^keyring/, variables)).toMatchInlineSnapshot(`
      "exit 0
      ok    keyring      New logins are sealed under a key in file; an item was kept, read and removed there.
      ok    keyring      secret-service is passed over (absent): The Secret Service is not reachable: the session bus is not there ("connect ENOENT $HOME/bus").
                         → Check DBUS_SESSION_BUS_ADDRESS, or unset it.
      All is well."
    `);
  });

  test.skipIf(NO_SECRET_SERVICE !== undefined)('says that the keyring is locked, and goes on', async () => {
    const bus = await privateBus();
    const first = await bus.keyring({ unlock: true });
    first.kill('SIGKILL');
    await bus.keyring({ unlock: false });
    const at = await loggedIn();
    const { DBUS_SESSION_BUS_ADDRESS = '' } = bus.variables;
    const told = await checks(at, /^keyring/, { DBUS_SESSION_BUS_ADDRESS });
    expect(told).toMatch(/^exit 0\n/);
    expect(told).toMatch(
      /\nwarn {2}keyring {6}secret-service is passed over \(locked\): The Secret Service is locked \(collection "Login"\)\.\n {19}→ Unlock it /,
    );
  });

  test.skipIf(NO_SECRET_SERVICE !== undefined)('names the desktop’s keyring when it works', async () => {
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const { path } = await temporaryHome();
    const { DBUS_SESSION_BUS_ADDRESS = '' } = bus.variables;
    const told = await checks(commandLine(path), /^(keyring|passphrase)/, { DBUS_SESSION_BUS_ADDRESS });
    expect(told).toContain(
      '\nok    keyring      New logins are sealed under a key in secret-service; an item was kept, read and removed there.\n',
    );
    expect(told).not.toContain('passphrase');
  });

  test('says which lock is in use', async () => {
    const at = commandLine((await temporaryHome()).path);
    expect((await at.run(['doctor'], { HOLDFAST_LOCK: 'lease-file' })).out).toContain(
      'A lease file serves as the lock: HOLDFAST_LOCK says so.',
    );
    const wrong = await at.run(['doctor'], { HOLDFAST_LOCK: 'mutex' });
    expect(wrong.code).toBe(2);
    expect(wrong.err).toContain('HOLDFAST_LOCK is "mutex", which is no lock.');
  });
});
