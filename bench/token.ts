/**
 * `npm run bench:token`: what `vault.token()` costs in a process that has the login in memory, how soon it sees another
 * process's change, and what a durable write costs beside a bare write, fsync, rename and directory fsync of the same
 * bytes, with few records and with many. The two writes are made in turns, so that whatever else the disk does hits both.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Bench } from 'tinybench';
import { DirectoryStore } from '../src/store/directory.ts';
import { processEnvironment } from '../src/system/environment.ts';
import { layoutOf } from '../src/system/files/paths.ts';
import { openVault } from '../src/vault/open.ts';
import { browse } from '../test/support/browser/scripted-browser.mjs';
import { startServers } from '../test/support/servers/servers.ts';

const BROWSER = fileURLToPath(new URL('../test/support/browser/scripted-browser.mjs', import.meta.url));
const WRITES = Number(process.argv[2] ?? 300);
const RECORDS = [10, 1_000, 100_000];

const place = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
try {
  console.log(`Node ${process.version}`);
  await inMemory(join(place, 'home'));
  for (const records of RECORDS) await durableWrite(join(place, `records-${records}`), records);
} finally {
  rmSync(place, { recursive: true, force: true });
}

async function inMemory(home: string): Promise<void> {
  const servers = await startServers();
  const vault = openVault({ home, keyring: 'file' });
  try {
    const logIn = () =>
      vault.login(servers.resource, {
        interaction: { authorize: async (url) => void browse(url).catch(() => {}) },
      });
    await logIn();
    const bench = new Bench({ time: 1000, warmupTime: 300 });
    bench.add('token', async () => {
      await vault.token(servers.resource);
    });
    await bench.run();
    const { result } = bench.tasks[0] ?? {};
    if (result === undefined || !('latency' in result)) throw new Error('nothing was measured');
    const microseconds = result.latency.p50 * 1000;
    console.log(`vault.token(), fresh     median ${microseconds.toFixed(2)} µs   (aim: 2 or less)`);

    // Another process logs in anew; this one asks all the time until it is given the new token.
    const before = (await vault.token(servers.resource)).generation;
    const login = spawn(
      process.execPath,
      ['--no-warnings', '--import', 'tsx', 'src/cli/bin.ts', 'login', servers.resource, '--quiet'],
      {
        env: { ...process.env, HOLDFAST_HOME: home, HOLDFAST_KEYRING: 'file', BROWSER: BROWSER },
        stdio: 'ignore',
      },
    );
    const [code] = await once(login, 'exit');
    const written = performance.now();
    if (code !== 0) throw new Error(`holdfast login exited with ${code}`);
    while ((await vault.token(servers.resource)).generation === before) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const seen = performance.now() - written;
    console.log(
      `another process's login  seen ${seen.toFixed(0)} ms after that process ended   (aim: within 1000)`,
    );
  } finally {
    await vault.close();
    await servers.stop();
  }
}

async function durableWrite(home: string, records: number): Promise<void> {
  const environment = processEnvironment();
  const layout = layoutOf(environment, home);
  const directory = join(layout.credentials, 'key');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (const path of [layout.home, layout.credentials]) mkdirSync(path, { recursive: true, mode: 0o700 });
  const bytes = Buffer.alloc(1_200, 'a');
  for (let index = 0; index < records; index += 1) {
    writeFileSync(join(directory, `record-${index}.jwe`), bytes, { mode: 0o600 });
  }
  const store = new DirectoryStore(layout, environment);
  const times = { ours: [] as number[], bare: [] as number[] };
  let version = (await store.read({ kid: 'key', id: 'record-0' }))?.version;
  for (let round = -10; round < WRITES; round += 1) {
    const record = String(round).padEnd(bytes.length, 'x');
    let begin = performance.now();
    const result = await store.cas({ kid: 'key', id: 'record-0' }, version, record);
    const ours = performance.now() - begin;
    if (result.outcome !== 'ok') throw new Error(`the write ended in ${result.outcome}`);
    ({ version } = result);
    begin = performance.now();
    await bareWrite(join(layout.temporary, 'bare'), join(directory, 'record-1.jwe'), directory, record);
    const bare = performance.now() - begin;
    if (round >= 0) {
      times.ours.push(ours);
      times.bare.push(bare);
    }
  }
  const [ours, bare] = [median(times.ours), median(times.bare)];
  console.log(
    `durable write, ${String(records).padStart(6)} records   median ${ours.toFixed(2)} ms, bare ${bare.toFixed(2)} ms, ratio ${(ours / bare).toFixed(2)}   (aim: 1.3 or less)`,
  );
}

/** The least that is durable: nothing is checked, nothing is locked. */
async function bareWrite(temporary: string, path: string, directory: string, text: string): Promise<void> {
  const file = await open(temporary, 'w', 0o600);
  await file.writeFile(text);
  await file.sync();
  await file.close();
  await rename(temporary, path);
  const above = await open(directory, 'r');
  await above.sync();
  await above.close();
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
