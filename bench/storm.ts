/**
 * `npm run storm`: many processes with one expired token, released at one barrier, again and again, against a real
 * authorization server that rotates refresh tokens and ends a login whose refresh token comes twice. Each round must come
 * to one token request, a valid token for everyone, and no revocation, as that server counts. Exits with 1 when one did
 * not. What other programs do under `--peers` is shown and not judged.
 */
import { type Servers, startServers } from '../test/support/servers/servers.ts';
import { describe } from './storm/barrier.ts';
import { CONFIGURATIONS } from './storm/configurations.ts';
import { type Options, readOptions } from './storm/options.ts';
import { comparePeers } from './storm/peers.ts';
import { Place } from './storm/place.ts';
import { heading, line, peerLine } from './storm/report.ts';
import type { Result } from './storm/storm.ts';

// It would cost each process 40 ms and change nothing here.
delete process.env['NODE_EXTRA_CA_CERTS'];

let options: Options;
try {
  options = readOptions(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${describe(error)}\n`);
  process.exit(2);
}
let broken = false;
const say = (text: string) => {
  if (!broken) (options.json ? process.stderr : process.stdout).write(`${text}\n`);
};

const place = await Place.make();
const breakOff = (why: unknown) => {
  if (broken) return;
  broken = true;
  process.exitCode = 1;
  if (why instanceof Error && !('syscall' in why)) process.stderr.write(`${describe(why)}\n`);
  void place.close().finally(() => process.exit());
};
// Again and again: a second signal must not end us before everything else has ended.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, breakOff);
process.on('uncaughtException', breakOff);
// Who reads the results may have gone.
process.stdout.on('error', breakOff);
try {
  const servers = await startServers();
  place.ends(() => servers.stop());
  const results = await runAll(servers);
  const peers = options.peers
    ? await comparePeers(servers, place, { slow: options.slow, say, show: (one) => say(peerLine(one)) })
    : [];
  if (options.json) process.stdout.write(`${JSON.stringify({ configurations: results, peers }, null, 2)}\n`);
} catch (error) {
  process.exitCode = 1;
  if (!broken) process.stderr.write(`The storm broke off: ${describe(error)}\n`);
} finally {
  await place.close();
}

async function runAll(servers: Servers) {
  const results: (({ name: string } & Result) | { name: string; skipped: string })[] = [];
  const { only, slow } = options;
  say(heading(options));
  for (const configuration of CONFIGURATIONS) {
    const { name, title } = configuration;
    if (only.length > 0 ? !only.includes(name) : configuration.slow === true && !slow) continue;
    const missing = configuration.missing();
    if (missing !== undefined) {
      say(`${title}: skipped, ${missing}`);
      results.push({ name, skipped: missing });
      continue;
    }
    const result = await configuration.run(options, servers, place);
    say(line(title, result));
    results.push({ name, ...result });
    if (result.roundsOff > 0) process.exitCode = 1;
  }
  return results;
}
