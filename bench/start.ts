/**
 * `npm run bench:start`: what a cold `holdfast token` costs, as a whole process, against `node -e 0`: file keyring, fresh
 * token. Both are run in turns, so that whatever else the machine does hits both. NODE_EXTRA_CA_CERTS is unset: where it
 * is set, it adds some 40 ms to each start of Node 20.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openVault } from '../src/vault/open.ts';
import { browse } from '../test/support/browser/scripted-browser.mjs';
import { startServers } from '../test/support/servers/servers.ts';

const ROUNDS = Number(process.argv[2] ?? 40);

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
    holdfast: ['dist/bin/holdfast.cjs', 'token', servers.resource],
  };
  const times: Record<keyof typeof commands, number[]> = { node: [], holdfast: [] };
  for (let round = -3; round < ROUNDS; round += 1) {
    for (const name of ['node', 'holdfast'] as const) {
      const begin = performance.now();
      const { status } = spawnSync(process.execPath, commands[name], {
        env,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const took = performance.now() - begin;
      if (status !== 0) throw new Error(`${name} exited with ${status}`);
      if (round >= 0) times[name].push(took);
    }
  }
  const least = { node: Math.min(...times.node), holdfast: Math.min(...times.holdfast) };
  const middle = { node: median(times.node), holdfast: median(times.holdfast) };
  console.log(`Node ${process.version}, ${ROUNDS} rounds in turns, milliseconds:`);
  console.log(`  node -e 0         least ${least.node.toFixed(1)}  median ${middle.node.toFixed(1)}`);
  console.log(`  holdfast token    least ${least.holdfast.toFixed(1)}  median ${middle.holdfast.toFixed(1)}`);
  console.log(
    `  ratio             least ${(least.holdfast / least.node).toFixed(2)}  median ${(middle.holdfast / middle.node).toFixed(2)}   (aim: 1.5 or less)`,
  );
} finally {
  await servers.stop();
  rmSync(home, { recursive: true, force: true });
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
