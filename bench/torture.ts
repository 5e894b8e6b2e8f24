import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { ENGINES, type EngineName } from './torture/engines.ts';
import { MODES, type Mode } from './torture/issuer.ts';
import { areGood, matrix, table } from './torture/matrix.ts';
import { noOldBuild, OLD_COMMIT } from './torture/old-build.ts';
import { isGood, show } from './torture/report.ts';
import { DEFAULTS, type Progress, type TortureOptions, torture } from './torture/run.ts';
import { isProtocol, PROTOCOLS } from './torture/stand-ins/stand-ins.ts';

const HELP = `npm run torture -- --engine postgres --mode strict --faults 1000

Worker processes share logins, over a directory or an engine, at an authorization server. Meanwhile
processes, engine and network die, stop and lose what they carry; the engine fails over to a replica
without the last writes, and its clock is set; logins are rekeyed, exported, imported, logged out of
and made again. The server's own log is the judge. Exits with 1 when a login was lost that could have
been saved, when anything else was as it must not be, or when the run was starved: at least one refresh
token must be presented for two faults.

  --engine NAME      ${ENGINES.join(', ')}; with --matrix several, with commas
  --mode NAME        ${MODES.join(', ')}; with --matrix several, with commas
  --seed N           the same seed plans the same faults (default: random)
  --faults N         ${DEFAULTS.faults}
  --every MS         between two faults: ${DEFAULTS.everyMs}. On a slow machine faults wait for presentations
  --credentials N    ${DEFAULTS.credentials}
  --loops N          callers in each worker: ${DEFAULTS.loops}
  --life MS          of an access token: ${DEFAULTS.lifeMs}
  --lease MS         ${DEFAULTS.leaseMs}
  --loss SHARE       of the token requests that meet with an accident: ${DEFAULTS.lossShare}
  --slowest MS       that the server takes before it decides: ${DEFAULTS.slowestMs}
  --plain            kills, stops and what an engine does, without rekey, logout, export, login, fail-over and clocks
  --mixed            every second worker runs the build of commit ${OLD_COMMIT}, as in a fleet that is being
                     updated. That build loses logins by itself. So a loss counts as avoidable only when
                     no worker of the old build presented a token of the login's last two generations,
                     and a fault of a call only when a worker of today's build made the call. The rest
                     is counted as "old build's part".
  --matrix           each engine (all), each mode (grace,strict) and --seeds seeds, from --seed on; then a table
  --seeds N          10
  --resume FILE      with --matrix: a line of JSON for each run that has finished; those are not done again
  --protocol NAME    shows what another design does in the same storm, and judges nothing:
                     ${Object.keys(PROTOCOLS).join(', ')}
  --keep             keeps the directory of the run, with all logs
  --json             the report as JSON
  --help
`;

delete process.env['NODE_EXTRA_CA_CERTS'];

const number = (value: number) => ({ type: 'string', default: String(value) }) as const;
const { values } = parseArgs({
  options: {
    engine: { type: 'string' },
    mode: { type: 'string' },
    protocol: { type: 'string', default: DEFAULTS.protocol },
    seed: number(randomInt(2 ** 31)),
    faults: number(DEFAULTS.faults),
    every: number(DEFAULTS.everyMs),
    credentials: number(DEFAULTS.credentials),
    loops: number(DEFAULTS.loops),
    life: number(DEFAULTS.lifeMs),
    lease: number(DEFAULTS.leaseMs),
    loss: number(DEFAULTS.lossShare),
    slowest: number(DEFAULTS.slowestMs),
    plain: { type: 'boolean', default: false },
    mixed: { type: 'boolean', default: false },
    matrix: { type: 'boolean', default: false },
    seeds: number(10),
    resume: { type: 'string' },
    keep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const { protocol } = values;
if (protocol !== 'holdfast' && !isProtocol(protocol)) {
  usage(`--protocol takes one of: holdfast, ${Object.keys(PROTOCOLS).join(', ')}`);
}
if (values.resume !== undefined && !values.matrix) usage('--resume needs --matrix.');
const oldBuild = values.mixed ? noOldBuild() : undefined;
if (oldBuild !== undefined) {
  process.stderr.write(`Skipped: --mixed needs the build before, and ${oldBuild}.\n`);
  process.exit(0);
}

const over = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => over.abort());
const base: Omit<TortureOptions, 'engine' | 'mode' | 'seed'> = {
  protocol: isProtocol(protocol) ? protocol : 'holdfast',
  faults: Number(values.faults),
  everyMs: Number(values.every),
  credentials: Number(values.credentials),
  loops: Number(values.loops),
  lifeMs: Number(values.life),
  leaseMs: Number(values.lease),
  lossShare: Number(values.loss),
  slowestMs: Number(values.slowest),
  operations: !values.plain,
  mixed: values.mixed,
  keep: values.keep,
};
await (values.matrix ? many() : one());

async function one(): Promise<void> {
  const own = isProtocol(protocol) ? PROTOCOLS[protocol].engine : 'directory';
  const engine = engineOf(values.engine ?? own);
  if (isProtocol(protocol) && engine !== own) usage(`--protocol ${protocol} is of --engine ${own}`);
  const options = { ...base, engine, mode: modeOf(values.mode ?? 'grace'), seed: Number(values.seed) };
  const report = await torture(options, over.signal, (progress) => showProgress(`${engine}`, progress));
  clear();
  process.stdout.write(values.json ? `${JSON.stringify({ options, report })}\n` : show(options, report));
  if (!isProtocol(protocol) && !isGood(report)) process.exitCode = 1;
}

async function many(): Promise<void> {
  const first = Number(values.seed);
  const options = {
    engines: (values.engine ?? 'postgres,redis,directory').split(',').map(engineOf),
    modes: (values.mode ?? 'grace,strict').split(',').map(modeOf),
    seeds: Array.from({ length: Number(values.seeds) }, (_, at) => first + at),
    base,
    file: values.resume,
  };
  const say = (text: string) => {
    clear();
    process.stdout.write(text);
  };
  const results = await matrix(options, over.signal, say, showProgress);
  say(values.json ? `${JSON.stringify(results)}\n` : `\n${table(results)}`);
  const wanted = options.engines.length * options.modes.length * options.seeds.length;
  if (results.length < wanted) process.stderr.write(`${wanted - results.length} runs are left.\n`);
  if (!areGood(results) || results.length < wanted) process.exitCode = 1;
}

function engineOf(name: string): EngineName {
  return ENGINES.find((known) => known === name) ?? usage(`--engine takes one of: ${ENGINES.join(', ')}`);
}

function modeOf(name: string): Mode {
  return MODES.find((known) => known === name) ?? usage(`--mode takes one of: ${MODES.join(', ')}`);
}

function showProgress(run: string, { faults, presentations }: Progress): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(`\r\x1b[K${run}: ${faults} of ${base.faults} faults, ${presentations} presentations`);
}

function clear(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}

function usage(why: string): never {
  process.stderr.write(`${why}\n`);
  process.exit(2);
}
