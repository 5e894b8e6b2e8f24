/**
 * `npm run fuzz -- --seconds 600 [--seed N] [--only NAME] [--path P]`: every fuzzer of test/fuzz, in a few processes, for an
 * equal share of that time. `--rounds 20` instead of `--seconds` runs a fixed number of inputs, the same on any machine.
 *
 * A finding is an input that breaks a property: an error that is not a HoldfastError, a secret or an unprintable character
 * in an error, a changed prototype, an input that takes too long, a process that hangs or takes too much memory. Prints the
 * seed, the inputs a second and how to repeat a finding; exits with 1 after one. The same seed gives the same inputs: with
 * more time, more of them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Report } from '../test/fuzz/run.ts';
import { TARGETS } from '../test/fuzz/targets.ts';

/** At once, at most: more would measure the machine. */
const MOST_PROCESSES = 4;
/** Wall-clock time for one input, in milliseconds. One takes far less than a second, on a busy machine too. */
const HANGS_AFTER_MS = 30_000;
/** Of the heap. An endless growth ends here, and the process with it. */
const HEAP_MIB = 512;

const RUN = fileURLToPath(new URL('../test/fuzz/run.ts', import.meta.url));

delete process.env['NODE_EXTRA_CA_CERTS'];
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    rounds: { type: 'string', default: '' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    only: { type: 'string' },
    path: { type: 'string', default: '' },
  },
});
const names = TARGETS.map(({ name }) => name).filter(
  (name) => values.only === undefined || name === values.only,
);
if (names.length === 0) throw new Error(`--only takes one of: ${TARGETS.map(({ name }) => name).join(', ')}`);
const processes = Math.min(MOST_PROCESSES, availableParallelism(), names.length);
/** Seconds for each fuzzer, where no number of rounds is given. */
const share = (Number(values.seconds) * processes) / names.length;

console.log(
  `Node ${process.version}, ${names.length} fuzzers, ${processes} at once, ${values.rounds === '' ? `${share.toFixed(1)} s` : `${values.rounds} rounds`} each, --seed ${values.seed}\n`,
);
const directory = await mkdtemp(join(tmpdir(), 'holdfast-fuzz-'));
const findings: string[] = [];
let total = 0;
try {
  const lists = Array.from({ length: processes }, (_, first) =>
    names.filter((_name, index) => index % processes === first),
  );
  await Promise.all(lists.map(feedAll));
} finally {
  await rm(directory, { recursive: true, force: true });
}
for (const finding of findings) console.log(`\n${finding}`);
console.log(`\n${total} inputs, ${findings.length} findings, --seed ${values.seed}`);
process.exitCode = findings.length === 0 ? 0 : 1;

/** One process for all of them; another one after it was ended. */
async function feedAll(list: string[], index: number): Promise<void> {
  const journal = join(directory, String(index));
  for (const left = [...list]; left.length > 0; left.shift()) {
    const ended = await run(left, journal, (report) => {
      tell(report);
      left.shift();
    });
    const [name] = left;
    if (name === undefined) return;
    const { seed, path } = placeIn(journal);
    console.log(`${name.padEnd(26)} ${ended.how}`);
    findings.push(`== ${name}: ${ended.how}\n${ended.said}\n${repeat(name, seed, path)}`);
  }
}

async function run(
  list: readonly string[],
  journal: string,
  onReport: (report: Report) => void,
): Promise<{ how: string; said: string }> {
  const flags = [`--max-old-space-size=${HEAP_MIB}`, '--no-warnings', '--import', 'tsx'];
  const words = [list.join(','), String(share), values.rounds, values.seed, values.path, journal];
  const child = spawn(process.execPath, [...flags, RUN, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)));
  const hung = watch(child, journal);
  for await (const line of createInterface(child.stdout)) onReport(JSON.parse(line) as Report);
  const [code, signal] =
    child.exitCode === null && child.signalCode === null
      ? ((await once(child, 'exit')) as [number | null, string | null])
      : [child.exitCode, child.signalCode];
  const how = hung()
    ? `hung: one input took more than ${HANGS_AFTER_MS / 1000} s`
    : `ended with ${code ?? signal}`;
  return { how, said };
}

function tell({ name, inputs, ms, mib, found }: Report): void {
  const rate = Math.round((inputs * 1000) / ms);
  const figures = `${String(inputs).padStart(8)} inputs ${String(rate).padStart(7)}/s ${String(mib).padStart(5)} MiB`;
  console.log(`${name.padEnd(26)} ${figures}${found === undefined ? '' : '  FOUND'}`);
  total += inputs;
  if (found !== undefined)
    findings.push(`== ${name}\n${found.text}\n${repeat(name, String(found.seed), found.path)}`);
}

function repeat(name: string, seed: string, path: string): string {
  return `Repeat: npm run fuzz -- --only ${name} --seed ${seed}${path === '' ? '' : ` --path ${path}`}`;
}

/** Ends the process when it stays with one input. @returns whether it did */
function watch(child: ChildProcess, journal: string): () => boolean {
  let hung = false;
  let [last, since] = ['', performance.now()];
  const timer = setInterval(() => {
    const now = JSON.stringify(placeIn(journal));
    if (now !== last) [last, since] = [now, performance.now()];
    else if (performance.now() - since > HANGS_AFTER_MS) hung = child.kill('SIGKILL');
  }, 500);
  child.once('exit', () => clearInterval(timer));
  return () => hung;
}

/** The input that it was at. */
function placeIn(journal: string): { seed: string; path: string } {
  const text = existsSync(journal) ? readFileSync(journal, 'utf8').trim() : '';
  const [seed, path = ''] = text.split(' ');
  return { seed: seed || values.seed, path };
}
