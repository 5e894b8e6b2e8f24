/**
 * `npm run bench:fleet -- [--engine postgres,redis] [--credentials 1000,100000] [--callers 32] [--seconds 5]
 * [--turns 3] [--holders 10000] [--lives 3]`: what an engine of many machines bears, each server started here, on this
 * machine, with every acknowledged write on the disk: reads and refreshes (a claim and a write) a second, and bytes a
 * credential; for PostgreSQL, the share of what pgbench reaches with the same two statements over as many connections, in
 * turns with it; and how often holders of one credential claim it.
 */
import { parseArgs } from 'node:util';
import { EngineStore } from '../src/store/engine/engine-store.ts';
import { Credentials, newRecord, type Rate } from './fleet/measure.ts';
import { oneCredential } from './fleet/one-credential.ts';
import { pgbenchCycles } from './fleet/pgbench.ts';
import { CONNECTIONS, startSized } from './fleet/sized-engine.ts';
import { openStore } from './torture/open-store.ts';

delete process.env['NODE_EXTRA_CA_CERTS'];
const { values } = parseArgs({
  options: {
    engine: { type: 'string', default: 'postgres,redis' },
    credentials: { type: 'string', default: '1000,100000' },
    callers: { type: 'string', default: '32' },
    seconds: { type: 'string', default: '5' },
    turns: { type: 'string', default: '3' },
    holders: { type: 'string', default: '10000' },
    lives: { type: 'string', default: '3' },
  },
});
const say = (text: string) => process.stdout.write(`${text}\n`);
const shown = ({ perSecond, p50, p99 }: Rate) =>
  `${perSecond.toFixed(0).padStart(6)} /s (p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)} ms)`;

/** Refreshes and pgbench in turns, because this machine may have other work. */
async function beside(credentials: Credentials, port: number, records: number, ms: number): Promise<void> {
  const turns: { readonly ours: number; readonly theirs: number }[] = [];
  const settings = { port, clients: CONNECTIONS, seconds: ms / 1000, records, record: newRecord() };
  for (let turn = 0; turn < Number(values.turns); turn += 1) {
    const { perSecond } = await credentials.cycles(ms);
    turns.push({ ours: perSecond, theirs: await pgbenchCycles(settings) });
  }
  if (turns.length === 0) return;
  const list = (rates: number[]) => rates.map((rate) => rate.toFixed(0)).join(', ');
  const shares = turns.map(({ ours, theirs }) => ours / theirs).sort((a, b) => a - b);
  const [least = 0, middle = 0, most = 0] = [shares[0], shares[shares.length >> 1], shares.at(-1)];
  say(
    `          in turns over ${CONNECTIONS} connections: ${list(turns.map(({ ours }) => ours))} refreshes/s, pgbench (1 thread) ${list(turns.map(({ theirs }) => theirs))}; ${middle.toFixed(2)} of pgbench (${least.toFixed(2)} to ${most.toFixed(2)})`,
  );
}

say(`Node ${process.version}, ${values.callers} callers in one process beside the engine`);
for (const name of values.engine.split(',')) {
  for (const size of values.credentials.split(',').filter(Boolean).map(Number)) {
    const engine = await startSized(name);
    try {
      const store = await openStore(engine.url, {});
      if (!(store instanceof EngineStore)) throw new Error(`${name} is no engine of many machines.`);
      const credentials = new Credentials(store, Number(values.callers));
      const before = await engine.bytes();
      if (engine.fill === undefined) await credentials.fill(size);
      else {
        await engine.fill(size);
        credentials.filled(engine.pgbenchPort === undefined ? size : size / 2);
      }
      const bytes = ((await engine.bytes()) - before) / size;
      const ms = Number(values.seconds) * 1000;
      const reads = await credentials.reads(ms);
      const cycles = await credentials.cycles(ms);
      say(
        `${name.padEnd(9)} ${String(size).padStart(8)} credentials  reads ${shown(reads)}  refreshes ${shown(cycles)}  ${bytes.toFixed(0)} bytes each`,
      );
      if (engine.pgbenchPort !== undefined) await beside(credentials, engine.pgbenchPort, size / 2, ms);
      await store.close();
    } finally {
      await engine.close();
    }
  }
  if (Number(values.holders) === 0) continue;
  const engine = await startSized(name);
  try {
    const result = await oneCredential(engine.url, Number(values.holders), Number(values.lives));
    const { holders, calls, failures, p99, lives, claims, presentations } = result;
    say(
      `${name.padEnd(9)} ${holders} holders of one credential: ${calls} calls, ${failures} failed, p99 ${p99.toFixed(0)} ms; ${lives} refreshes, ${(claims / lives).toFixed(2)} claims and ${(presentations / lives).toFixed(2)} presentations each`,
    );
  } finally {
    await engine.close();
  }
}
