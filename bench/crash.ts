/**
 * `npm run crash -- --kills 10000 [--seconds 600] [--seed N] [--only PLACE] [--at-once 4]`: processes that refresh, killed at
 * every named step and at random moments, against oidc-provider, a strict server and one with a replay window, with either
 * lock. After each kill the next process must have a token, or, where a strict server had rotated and no copy of its answer
 * had reached the disk, one clear "login required". Judged by the server's own log and the disk at the moment of the kill;
 * counted by place. Exits with 1 when a login was lost that could have been saved, or anything was left that is not as it
 * should be. The same seed gives the same kills; what the machine does between them is its own.
 */
import { randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CHECKPOINTS } from '../src/system/checkpoints.ts';
import { CrashSite, type Kill, PLACES, SERVERS, Servers } from '../test/faults/crash/harness.ts';
import { Site } from '../test/faults/crash/site.ts';
import { bundled } from '../test/support/homes/bundle.ts';

/** How long after a step a random kill may come: past the end of most of them, so that every moment is hit. */
const LONGEST_MS = 4;

delete process.env['NODE_EXTRA_CA_CERTS'];
const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '600' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    only: { type: 'string' },
    // Homes in which processes die at the same time. Most of their time they wait for what a killed process left to pass.
    'at-once': { type: 'string', default: '4' },
  },
});
const places = PLACES.filter((place) => values.only === undefined || place === values.only);
if (places.length === 0) throw new Error(`--only takes one of: ${PLACES.join(', ')}`);
const wanted = Number(values.kills);
const begin = performance.now();
const end = begin + Number(values.seconds) * 1000;
const random = generator(Number(values.seed));
console.log(`Node ${process.version}, ${wanted} kills, at most ${values.seconds} s, --seed ${values.seed}`);

interface Count {
  saved: number;
  unavoidable: number;
  lost: number;
  unhurt: number;
  defects: number;
}
const counts = new Map<string, Count>([...places, ...SERVERS].map((row) => [row, none()]));
const directory = await mkdtemp(join(tmpdir(), 'holdfast-crash-'));
const servers = await Servers.start();
let begun = 0;
try {
  const worker = await bundled(
    directory,
    'worker',
    new URL('../test/faults/crash/worker.ts', import.meta.url),
  );
  const sites = Array.from({ length: Number(values['at-once']) }, async (_, index) => {
    const site = new CrashSite(new Site(join(directory, `home-${index}`), worker), servers);
    while (begun < wanted && performance.now() < end) {
      begun += 1;
      await one(site, nextKill(begun), begun);
    }
  });
  await Promise.all(sites);
} finally {
  await servers.close();
  await rm(directory, { recursive: true, force: true });
}

const columns = [
  'kills',
  'valid tokens',
  'unavoidable losses',
  'avoidable losses',
  'other defects',
  'too late',
];
for (const rows of [places, SERVERS]) {
  console.log(`\n${''.padEnd(17)}  ${columns.join('  ')}`);
  for (const row of rows) {
    const { saved, unavoidable, lost, unhurt, defects } = counts.get(row) ?? none();
    const figures = [saved + unavoidable + lost + defects, saved, unavoidable, lost, defects, unhurt];
    const cells = figures.map((figure, index) => String(figure).padStart(columns[index]?.length ?? 0));
    console.log(`${row.padEnd(17)}  ${cells.join('  ')}`);
  }
}
const rows = places.map((place) => counts.get(place) ?? none());
const sum = (of: (count: Count) => number) => rows.reduce((total, count) => total + of(count), 0);
const killed = sum(({ saved, unavoidable, lost, defects }) => saved + unavoidable + lost + defects);
const wrong = sum(({ lost, defects }) => lost + defects);
const seconds = (performance.now() - begin) / 1000;
console.log(
  `\n${killed} kills of ${begun} tries in ${seconds.toFixed(0)} s (${(killed / seconds).toFixed(1)} a second): ` +
    `${sum(({ lost }) => lost)} avoidable losses, ${sum(({ defects }) => defects)} other defects.`,
);
if (wrong > 0) process.exitCode = 1;

async function one(site: CrashSite, kill: Kill, number: number): Promise<void> {
  const verdict = await site.kill(kill);
  const kind = typeof verdict === 'string' ? verdict : verdict.lost ? 'lost' : 'defects';
  for (const row of [kill.place, kill.server]) {
    const count = counts.get(row);
    if (count !== undefined) count[kind] += 1;
  }
  if (typeof verdict === 'string') return;
  console.log(
    `DEFECT in kill ${number}: ${verdict.defect}\n  ${JSON.stringify(kill)}\n  ${JSON.stringify(verdict.log)}`,
  );
}

/** Each named step in turn, and every other time a random moment after a random step. */
function nextKill(number: number): Kill {
  const steps = places.filter((place) => place !== 'at random');
  const randomly = steps.length === 0 || (number % 2 === 0 && steps.length < places.length);
  const server = pick(SERVERS);
  const lock = random() < 0.75 ? 'flock' : 'lease-file';
  const after = { step: pick(CHECKPOINTS), ms: Math.floor(random() * LONGEST_MS * 100) / 100 };
  if (randomly) return { place: 'at random', server, lock, after };
  return { place: steps[Math.floor((number - 1) / 2) % steps.length] ?? 'at random', server, lock };
}

function pick<T>(choices: readonly T[]): T {
  return choices[Math.floor(random() * choices.length)] as T;
}

function none(): Count {
  return { saved: 0, unavoidable: 0, lost: 0, unhurt: 0, defects: 0 };
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
