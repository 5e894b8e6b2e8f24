/**
 * `npm run bench:proxy`: what the proxy adds to a tool call, against a direct client of the SDK and against mcp-remote, in
 * turns, over the same server: latency, calls per second, start to first result, memory. mcp-remote is told the access
 * token (`--header`); ours takes it from the vault with each call.
 *
 * `npm run bench:proxy -- --calls 10000 --in-flight 50`: that many calls over tokens that live for two seconds; fails when
 * one is lost, done twice, or out of order.
 */
import { parseArgs } from 'node:util';
import { compare } from './proxy/compare.ts';
import { load } from './proxy/load.ts';

const { values } = parseArgs({
  options: {
    calls: { type: 'string' },
    'in-flight': { type: 'string', default: '50' },
    rounds: { type: 'string', default: '20' },
  },
});
if (values.calls === undefined) await compare(Number(values.rounds));
else if (!(await load(Number(values.calls), Number(values['in-flight'])))) process.exitCode = 1;
