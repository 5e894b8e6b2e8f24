/**
 * `npm run bench:start`: what a cold `holdfast token`, `--version` and `--help` cost, as whole processes, against
 * `node -e 0`: file keyring, fresh token. They are run in turns, so that whatever else the machine does hits all. Exits
 * with 1 if one costs more than its bound, on a machine that does nothing else; `--no-verdict` only prints the figures.
 * NODE_EXTRA_CA_CERTS is unset: where it is set, it adds some 40 ms to each start of Node 20.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { openVault } from '../src/vault/open.ts';
import { browse } from '../test/support/browser/scripted-browser.mjs';
import { startServers } from '../test/support/servers/servers.ts';

const words = process.argv.slice(2);
const hasVerdict = !words.includes('--no-verdict');
const ROUNDS = Number(words.find((word) => !word.startsWith('--')) ?? 40);

/** The highest ratio of the medians to that of a bare Node. The aims are 1.6 for `token`, and 1.2 for the others. */
const BOUNDS = { token: 2.5, version: 1.35, help: 1.5 } as const;

execFileSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' });
const home = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
const servers = await startServers();
const { NODE_EXTRA_CA_CERTS: _unset, ...rest } = process.env;
const env = { ...rest, HOLDFAST_HOME: home, HOLDFAST_KEYRING: 'file' };
try {
  const vault = openVault({ home, keyring: 'file' });
  await vault.login(servers.resource, {
    interaction: { authorize: async (url) => void browse(url).catch(() => {}) },
  });
  await vault.close();
  await servers.stop();

  const commands = {
    node: ['-e', '0'],
    token: ['dist/bin/holdfast.cjs', 'token', servers.resource],
    version: ['dist/bin/holdfast.cjs', '--version'],
    help: ['dist/bin/holdfast.cjs', '--help'],
  };
  const times: Record<keyof typeof commands, number[]> = { node: [], token: [], version: [], help: [] };
  for (let round = -3; round < ROUNDS; round += 1) {
    for (const [name, args] of Object.entries(commands) as [keyof typeof commands, string[]][]) {
      const begin = performance.now();
      const { status } = spawnSync(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
      const took = performance.now() - begin;
      if (status !== 0) throw new Error(`${name} exited with ${status}`);
      if (round >= 0) times[name].push(took);
    }
  }
  const load = loadavg()
    .map((one) => one.toFixed(1))
    .join(' ');
  console.log(`Node ${process.version}, ${ROUNDS} rounds in turns, load average ${load}, milliseconds:`);
  const [least, middle] = [Math.min(...times.node), median(times.node)];
  console.log(`  node -e 0  least ${least.toFixed(1)}  median ${middle.toFixed(1)}`);
  for (const name of ['token', 'version', 'help'] as const) {
    const ratio = median(times[name]) / middle;
    const figures = `least ${Math.min(...times[name]).toFixed(1)}  median ${median(times[name]).toFixed(1)}`;
    const leastRatio = (Math.min(...times[name]) / least).toFixed(2);
    console.log(
      `  ${name.padEnd(9)}  ${figures}  ratio ${leastRatio} / ${ratio.toFixed(2)} (bound ${BOUNDS[name]})`,
    );
    if (hasVerdict && ratio > BOUNDS[name]) process.exitCode = 1;
  }
} finally {
  await servers.stop();
  rmSync(home, { recursive: true, force: true });
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
