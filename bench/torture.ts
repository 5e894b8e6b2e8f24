/**
 * `npm run torture -- --engine postgres --faults 5000`: worker processes that share credentials, over an engine, at an
 * authorization server, while processes, engine and network die, stop and lose what they carry. Judged by the server's own
 * log: exits with 1 when a login was lost that could have been saved, or anything else was as it must not be. The same seed
 * gives the same faults; when the operating system runs whom is its own. `--protocol` shows what other designs do in the
 * same storm, and judges nothing.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { ENGINES, type EngineName } from './torture/engines.ts';
import { MODES, type Mode } from './torture/issuer.ts';
import { show } from './torture/report.ts';
import { DEFAULTS, torture } from './torture/run.ts';
import { isProtocol, PROTOCOLS } from './torture/stand-ins/stand-ins.ts';

delete process.env['NODE_EXTRA_CA_CERTS'];

const number = (value: number) => ({ type: 'string', default: String(value) }) as const;
const { values } = parseArgs({
  options: {
    engine: { type: 'string' },
    mode: { type: 'string', default: 'grace' },
    protocol: { type: 'string', default: DEFAULTS.protocol },
    seed: number(randomInt(2 ** 31)),
    faults: number(DEFAULTS.faults),
    credentials: number(DEFAULTS.credentials),
    loops: number(DEFAULTS.loops),
    life: number(DEFAULTS.lifeMs),
    lease: number(DEFAULTS.leaseMs),
    loss: number(DEFAULTS.lossShare),
    slowest: number(DEFAULTS.slowestMs),
    keep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const { protocol } = values;
if (protocol !== 'holdfast' && !isProtocol(protocol)) {
  usage(`--protocol takes one of: holdfast, ${Object.keys(PROTOCOLS).join(', ')}`);
}
const own = isProtocol(protocol) ? PROTOCOLS[protocol].engine : 'directory';
const engine = ENGINES.find((one) => one === (values.engine ?? own)) as EngineName;
if (engine === undefined) usage(`--engine takes one of: ${ENGINES.join(', ')}`);
if (isProtocol(protocol) && engine !== own) usage(`--protocol ${protocol} is of --engine ${own}`);
const mode = MODES.find((one) => one === values.mode) as Mode;
if (mode === undefined) usage(`--mode takes one of: ${MODES.join(', ')}`);

const over = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => over.abort());
const options = {
  engine,
  mode,
  protocol: isProtocol(protocol) ? protocol : ('holdfast' as const),
  seed: Number(values.seed),
  faults: Number(values.faults),
  credentials: Number(values.credentials),
  loops: Number(values.loops),
  lifeMs: Number(values.life),
  leaseMs: Number(values.lease),
  lossShare: Number(values.loss),
  slowestMs: Number(values.slowest),
  keep: values.keep,
};
const report = await torture(options, over.signal);
process.stdout.write(values.json ? `${JSON.stringify({ options, report })}\n` : show(options, report));
if (!isProtocol(protocol) && report.violations.length > 0) process.exitCode = 1;

function usage(why: string): never {
  process.stderr.write(`${why}\n`);
  process.exit(2);
}
