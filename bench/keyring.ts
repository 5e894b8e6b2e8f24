/**
 * `npm run bench:keyring`: what opening a keyring, reading and writing a sealing key costs, in turns with `secret-tool`
 * and, where it is installed, `@napi-rs/keyring`; then a cold `holdfast token` under the Secret Service and under the file
 * keyring, as whole processes, against `node -e 0`. On buses and with daemons of its own; what is not installed is left
 * out. NODE_EXTRA_CA_CERTS is unset: where it is set, it adds some 40 ms to each start of Node 20.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { FileKeyring } from '../src/keyring/file/file.ts';
import type { Keyring } from '../src/keyring/keyring.ts';
import { openKernelKeyring } from '../src/keyring/native/keyctl.ts';
import { openKWallet } from '../src/keyring/native/kwallet.ts';
import { openSecretService } from '../src/keyring/native/secret-service.ts';
import { connectBus, deadlineIn } from '../src/system/dbus/connection.ts';
import { type Environment, processEnvironment } from '../src/system/environment.ts';
import { layoutOf } from '../src/system/files/paths.ts';
import { openVault } from '../src/vault/open.ts';
import { browse } from '../test/support/browser/scripted-browser.mjs';
import { installed } from '../test/support/requirement.ts';
import { startServers } from '../test/support/servers/servers.ts';

const ROUNDS = Number(process.argv[2] ?? 40);
const SECRET = Buffer.from(Buffer.alloc(32, 7).toString('base64url'));
/** Not a literal: it is not installed with Holdfast, and mostly not here either. */
const NAPI: string = '@napi-rs/keyring';

/** One way to a secret. What has no `open` is opened anew by each call. */
interface Contender {
  readonly open?: () => Promise<unknown>;
  readonly set: () => unknown;
  readonly get: () => unknown;
}

type Times = Record<keyof Contender, number[]>;

delete process.env['NODE_EXTRA_CA_CERTS'];
const place = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
const children: ChildProcess[] = [];
try {
  const environment = await desktop();
  console.log(`Node ${process.version}, ${ROUNDS} rounds in turns, median milliseconds:`);
  await compareKeyrings(environment);
  await compareStarts(environment);
} finally {
  for (const child of children.toReversed()) await end(child);
  rmSync(place, { recursive: true, force: true });
}

/** A session bus with an unlocked gnome-keyring and an open wallet. */
async function desktop(): Promise<Environment> {
  writeFileSync(
    join(place, 'bus.conf'),
    `<busconfig><type>session</type><listen>unix:tmpdir=${place}</listen><policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`,
  );
  mkdirSync(join(place, '.config'));
  writeFileSync(
    join(place, '.config', 'kwalletrc'),
    '[Wallet]\nFirst Use=false\nPrompt on Open=false\nLaunch Manager=false\n',
  );
  Object.assign(process.env, { HOME: place, XDG_RUNTIME_DIR: place, QT_QPA_PLATFORM: 'offscreen' });
  const bus = run('dbus-daemon', [
    '--nofork',
    '--print-address',
    '1',
    '--config-file',
    join(place, 'bus.conf'),
  ]);
  if (bus.stdout === null) throw new Error('no output of dbus-daemon');
  for await (const line of createInterface({ input: bus.stdout })) {
    process.env['DBUS_SESSION_BUS_ADDRESS'] = line;
    break;
  }
  if (installed('gnome-keyring-daemon')) {
    run('gnome-keyring-daemon', ['--foreground', '--components=secrets', '--unlock']).stdin?.end(
      'a password',
    );
    await untilUsable(() => openSecretService(processEnvironment()));
  }
  if (installed('kwalletd5')) {
    run('kwalletd5', []);
    await openWallet();
  }
  return { ...processEnvironment(), homeDirectory: place };
}

async function compareKeyrings(environment: Environment): Promise<void> {
  const contenders: Record<string, Contender> = {};
  const candidates: Record<string, () => Promise<Keyring>> = {
    'secret-service': () => openSecretService(environment),
    kwallet: () => openKWallet(environment),
    'keyctl:process': () => openKernelKeyring('process'),
    file: async () => new FileKeyring(layoutOf(environment, join(place, 'holdfast')), environment),
  };
  const opened: Keyring[] = [];
  for (const [name, open] of Object.entries(candidates)) {
    const keyring = await open();
    if ((await keyring.probe()).status !== 'usable') {
      console.log(`  ${name}: not usable here`);
      await keyring.close();
      continue;
    }
    opened.push(keyring);
    contenders[name] = {
      open: async () => {
        const another = await open();
        await another.probe();
        await another.close();
      },
      set: () => keyring.set('bench', SECRET),
      get: () => keyring.get('bench'),
    };
  }
  if (installed('secret-tool')) contenders['secret-tool'] = secretTool();
  const napi = await napiKeyring();
  if (napi === undefined) console.log(`  ${NAPI}: not installed`);
  else contenders[NAPI] = napi;

  const times = new Map<string, Times>();
  for (const name of Object.keys(contenders)) times.set(name, { open: [], set: [], get: [] });
  for (let round = -3; round < ROUNDS; round += 1) {
    for (const [name, contender] of Object.entries(contenders)) {
      for (const step of ['open', 'set', 'get'] as const) {
        const begin = performance.now();
        await contender[step]?.();
        if (round >= 0) times.get(name)?.[step].push(performance.now() - begin);
      }
    }
  }
  console.log(`  ${''.padEnd(18)}${['open', 'set', 'get'].map((step) => step.padStart(9)).join('')}`);
  for (const [name, { open, set, get }] of times) {
    const shown = [contenders[name]?.open === undefined ? [] : open, set, get].map((values) =>
      (values.length === 0 ? '-' : median(values).toFixed(2)).padStart(9),
    );
    console.log(`  ${name.padEnd(18)}${shown.join('')}`);
  }
  for (const keyring of opened) {
    await keyring.delete('bench');
    await keyring.close();
  }
}

function secretTool(): Contender {
  const attributes = ['service', 'holdfast', 'username', 'bench-tool'];
  return {
    set: () => execFileSync('secret-tool', ['store', '--label=bench', ...attributes], { input: SECRET }),
    get: () => execFileSync('secret-tool', ['lookup', ...attributes]),
  };
}

interface NapiEntry {
  setPassword(password: string): void;
  getPassword(): string | null;
}

async function napiKeyring(): Promise<Contender | undefined> {
  let Entry: new (service: string, username: string, options: object) => NapiEntry;
  try {
    ({ Entry } = (await import(NAPI)) as { Entry: typeof Entry });
  } catch {
    return undefined;
  }
  const entry = () => new Entry('holdfast', 'bench-napi', { linux: { store: 'secret-service' } });
  return {
    open: async () => void entry(),
    set: () => entry().setPassword(SECRET.toString()),
    get: () => entry().getPassword(),
  };
}

/** `holdfast token` from the built command, with a fresh token in each keyring. */
async function compareStarts(environment: Environment): Promise<void> {
  execFileSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' });
  const servers = await startServers();
  const commands: Record<string, { args: string[]; variables: Record<string, string> }> = {
    'node -e 0': { args: ['-e', '0'], variables: {} },
  };
  try {
    for (const keyring of ['file', 'secret-service']) {
      const home = join(place, `home-${keyring}`);
      const vault = openVault({ home, keyring, environment });
      await vault.login(servers.resource, {
        interaction: { authorize: async (url) => void browse(url).catch(() => {}) },
      });
      await vault.close();
      commands[keyring] = {
        args: ['dist/bin/holdfast.cjs', 'token', servers.resource],
        variables: { HOLDFAST_HOME: home, HOLDFAST_KEYRING: keyring },
      };
    }
  } finally {
    await servers.stop();
  }
  const times = new Map(Object.keys(commands).map((name) => [name, [] as number[]]));
  for (let round = -3; round < ROUNDS; round += 1) {
    for (const [name, { args, variables }] of Object.entries(commands)) {
      const begin = performance.now();
      const env = { ...process.env, ...variables };
      const { status } = spawnSync(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
      const took = performance.now() - begin;
      if (status !== 0) throw new Error(`${name} exited with ${status}`);
      if (round >= 0) times.get(name)?.push(took);
    }
  }
  const bare = median(times.get('node -e 0') ?? []);
  console.log('A cold `holdfast token`, whole process:');
  for (const [name, values] of times) {
    const middle = median(values);
    const aim = name === 'secret-service' ? '   (aim: 2 or less)' : '';
    console.log(
      `  ${name.padEnd(18)}${middle.toFixed(1).padStart(9)}   ratio ${(middle / bare).toFixed(2)}${aim}`,
    );
  }
}

function run(program: string, args: readonly string[]): ChildProcess {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'] });
  children.push(child);
  return child;
}

async function openWallet(): Promise<void> {
  const connection = await connectBus(process.env['DBUS_SESSION_BUS_ADDRESS'] ?? '', deadlineIn(10_000));
  const at = { destination: 'org.kde.kwalletd5', path: '/modules/kwalletd5', interface: 'org.kde.KWallet' };
  // What the login to a desktop does.
  const call = { ...at, member: 'pamOpen', signature: 'sayi', body: ['kdewallet', Buffer.alloc(56, 1), 0] };
  await untilUsable(
    () => openKWallet({ ...processEnvironment(), homeDirectory: place }),
    () => connection.call(call, deadlineIn(1_000)).catch(() => undefined),
  );
  connection.close();
}

async function untilUsable(open: () => Promise<Keyring>, nudge?: () => Promise<unknown>): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) {
    await nudge?.();
    const keyring = await open();
    const { status } = await keyring.probe();
    await keyring.close();
    if (status === 'usable') return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
