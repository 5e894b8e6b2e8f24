/**
 * `npm run crash -- --kills 10000 [--seconds 600] [--seed N]`: processes that refresh, killed at every named step and at
 * random moments, against a server with a replay window and a strict one, with either lock. After each kill the next
 * process must have a token, or, where a strict server had rotated and its answer died with the process, one clear "login
 * required". Judged by the server's own memory; counted by place. Exits with 1 when a login was lost that could have been
 * saved, or anything was left that is not as it should be. The same seed gives the same kills; what the machine does between
 * them is its own.
 */
import { randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CrashSite, type Kill, PLACES } from '../test/faults/crash/harness.ts';
import { startTokenServer } from '../test/faults/crash/token-server.ts';
import { bundled } from '../test/support/bundle.ts';

/** At once: one process dies while another starts. */
const SITES = 2;
/** A refresh is over by then. */
const LONGEST_MS = 25;

delete process.env['NODE_EXTRA_CA_CERTS'];
const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '600' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
  },
});
const wanted = Number(values.kills);
const begin = performance.now();
const end = begin + Number(values.seconds) * 1000;
const random = generator(Number(values.seed));
console.log(`Node ${process.version}, ${wanted} kills, at most ${values.seconds} s, --seed ${values.seed}`);

const directory = await mkdtemp(join(tmpdir(), 'holdfast-crash-'));
const counts = new Map(PLACES.map((place) => [place, { saved: 0, unavoidable: 0, unhurt: 0, defects: 0 }]));
const server = await startTokenServer();
let begun = 0;
let killed = 0;
try {
  const worker = await bundled(
    directory,
    'worker',
    new URL('../test/faults/crash/worker.ts', import.meta.url),
  );
  const sites = Array.from({ length: SITES }, async (_, index) => {
    const site = new CrashSite(join(directory, `home-${index}`), worker, server);
    while (begun < wanted && performance.now() < end) {
      begun += 1;
      await one(site, nextKill(begun));
    }
  });
  await Promise.all(sites);
} finally {
  await server.close();
  await rm(directory, { recursive: true, force: true });
}

console.log('\nkilled at             saved   unavoidable   too late to kill   defects');
for (const [place, { saved, unavoidable, unhurt, defects }] of counts) {
  console.log(
    `${place.padEnd(18)} ${column(saved, 8)} ${column(unavoidable, 13)} ${column(unhurt, 18)} ${column(defects, 9)}`,
  );
}
const lost = [...counts.values()].reduce((sum, { defects }) => sum + defects, 0);
const seconds = (performance.now() - begin) / 1000;
console.log(
  `\n${killed} kills of ${begun} tries in ${seconds.toFixed(0)} s (${(killed / seconds).toFixed(1)} a second): ${lost} defects.`,
);
if (lost > 0) process.exitCode = 1;

async function one(site: CrashSite, kill: Kill): Promise<void> {
  const verdict = await site.kill(kill);
  const count = counts.get(kill.place);
  if (verdict !== 'unhurt') killed += 1;
  if (count === undefined) return;
  if (typeof verdict === 'string') count[verdict] += 1;
  else {
    count.defects += 1;
    console.log(`DEFECT: ${verdict.defect} (${JSON.stringify(kill)})`);
  }
}

/** Each named step in turn, and every other time a random moment. */
function nextKill(number: number): Kill {
  const steps = PLACES.length - 1;
  const place = number % 2 === 0 ? 'at random' : (PLACES[((number - 1) / 2) % steps] ?? 'at random');
  return {
    place,
    policy: random() < 0.5 ? 'strict' : 'window',
    lock: random() < 0.75 ? 'flock' : 'lease-file',
    afterMs: Math.floor(random() * LONGEST_MS),
  };
}

function column(number: number, width: number): string {
  return String(number).padStart(width);
}

/** mulberry32: small, and the same everywhere. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
