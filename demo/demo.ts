/**
 * `npm run demo`: the main job, end to end, on real servers that the demo starts. Exits non-zero if any step fails, and
 * leaves nothing behind.
 */
import { spawn } from 'node:child_process';
import { lstat, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromiumPath } from '../test/support/browser/chromium.ts';
import { type Servers, startServers } from '../test/support/servers/servers.ts';

const TOKEN_LIFE_S = 4;
const root = fileURLToPath(new URL('..', import.meta.url));
const file = (path: string) => join(root, path);
const begin = performance.now();

const place = await mkdtemp(join(tmpdir(), 'holdfast-demo-'));
const home = join(place, 'home');
/** Only this directory is usable: no desktop, no session bus, no writable HOME. */
const environment = {
  PATH: process.env['PATH'] ?? '',
  HOME: '/nonexistent',
  HOLDFAST_HOME: home,
  NO_COLOR: '1',
};
let servers: Servers | undefined;
try {
  await demo();
  say(
    `\nDone in ${((performance.now() - begin) / 1000).toFixed(1)} s. Everything was on this machine, and is gone.`,
  );
} catch (error) {
  process.exitCode = 1;
  say(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
} finally {
  await servers?.stop();
  await rm(place, { recursive: true, force: true });
}

async function demo(): Promise<void> {
  step('Building the command');
  await succeed(process.execPath, [file('scripts/build.mjs')]);

  step(
    `Starting an authorization server (oidc-provider; access tokens live ${TOKEN_LIFE_S} s) and an MCP server`,
  );
  servers = await startServers({ accessTokenTtlSeconds: TOKEN_LIFE_S });
  const { resource } = servers;
  say(`MCP server            ${resource}`);
  say(`authorization server  ${servers.issuer}`);

  const browser = chromiumPath() === undefined ? 'scripted-browser.mjs' : 'chromium-browser.mjs';
  step(
    `holdfast login ${resource}   (${browser.startsWith('chromium') ? 'in Chromium' : 'by a script that fills the forms'})`,
  );
  const login = await succeed(process.execPath, [file('dist/bin/holdfast.cjs'), 'login', resource], {
    BROWSER: file(`test/support/browser/${browser}`),
  });
  quoteLines(login.err.replaceAll(/(Opening your browser).*?\n\n.*?\n\n/gs, '$1.\n'));

  step('A new process calls a tool with the stored token');
  say(await callTool());

  step('What lies on disk');
  await showDisk();

  step(`${TOKEN_LIFE_S} seconds later the access token has expired: another new process calls again`);
  await sleep(TOKEN_LIFE_S * 1000);
  const before = await servers.counters();
  say(await callTool());
  const { refreshGrants } = await servers.counters();
  check(refreshGrants - before.refreshGrants === 1, 'exactly one refresh was made');
  say(`Refreshes so far: ${refreshGrants}`);

  step('Ten processes at once, with one expired token');
  await sleep(TOKEN_LIFE_S * 1000);
  // Even on a slow machine, the new token outlives the slowest of the ten processes.
  await servers.behave({ accessTokenTtlSeconds: 60 });
  const tokens = await Promise.all(
    Array.from({ length: 10 }, () =>
      succeed(process.execPath, [file('dist/bin/holdfast.cjs'), 'token', resource]),
    ),
  );
  const after = await servers.counters();
  check(after.refreshGrants - refreshGrants === 1, 'ten processes made one refresh');
  check(new Set(tokens.map(({ out }) => out)).size === 1, 'all ten got the same token');
  say('10 processes, 1 refresh, 1 token.');

  step('The sandbox restarts: nothing is left but its directory');
  const listed = await succeed(process.execPath, [file('dist/bin/holdfast.cjs'), 'list']);
  quoteLines(listed.out);
  check(listed.out.includes(resource), 'the login is still there');

  step(`holdfast logout ${resource}`);
  const logout = await succeed(process.execPath, [file('dist/bin/holdfast.cjs'), 'logout', resource]);
  quoteLines(logout.err);
  const { revocations, grantsRevoked } = await servers.counters();
  check(revocations >= 1 && grantsRevoked >= 1, 'the server revoked the grant');
  say(`The server counted ${revocations} revocations and ended ${grantsRevoked} grant.`);
  const gone = await run(process.execPath, [file('dist/bin/holdfast.cjs'), 'token', resource]);
  check(gone.code === 3, 'without a login, `holdfast token` exits with 3');
  quoteLines(gone.err);
}

/** Runs in its own process, which knows only the URL and the directory. */
async function callTool(): Promise<string> {
  if (servers === undefined) throw new Error('the servers are not up');
  const { out } = await succeed(process.execPath, [
    '--no-warnings',
    '--import',
    'tsx',
    file('demo/call-tool.ts'),
    servers.resource,
  ]);
  check(out.includes('alice'), 'the MCP server knew who called');
  return out.trim();
}

async function showDisk(): Promise<void> {
  for (const path of (await readdir(home, { recursive: true })).sort()) {
    const stats = await lstat(join(home, path));
    const mode = (stats.mode & 0o777).toString(8).padStart(4, '0');
    const bytes = stats.isFile() ? await readFile(join(home, path)) : Buffer.alloc(0);
    const head =
      bytes.length === 0
        ? ''
        : `  ${bytes.length} bytes: ${path.endsWith('passphrase') ? '(hidden)' : `${bytes.toString('latin1', 0, 24)}…`}`;
    say(
      `${mode}  ${relative('.', path)
        .replaceAll(/[\w-]{30,}/g, (name) => `${name.slice(0, 8)}…`)
        .padEnd(40)}${head}`,
    );
    check((stats.mode & 0o077) === 0, `${path} is closed to others`);
    check(!bytes.includes('access') && !bytes.includes('alice'), `${path} holds no plaintext`);
  }
}

function step(title: string): void {
  process.stdout.write(`\n▸ ${title}\n`);
}

function say(text: string): void {
  process.stdout.write(`  ${text}\n`);
}

function quoteLines(text: string): void {
  for (const line of text.trimEnd().split('\n')) say(`| ${line}`);
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`expected that ${what}`);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function succeed(
  program: string,
  args: readonly string[],
  more: Record<string, string> = {},
): Promise<Ended> {
  const ended = await run(program, args, more);
  if (ended.code !== 0) throw new Error(`${args.join(' ')} exited with ${ended.code}:\n${ended.err}`);
  return ended;
}

function run(program: string, args: readonly string[], more: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: root,
      env: { ...environment, ...more },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.stderr.on('data', (chunk) => {
      err += chunk;
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, out, err }));
  });
}
