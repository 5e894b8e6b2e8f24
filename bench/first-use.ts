/**
 * `npm run first-use -- --rounds 200 --processes 16`: in each round a fresh home, and so many processes that each log in
 * for the first time, at a server of their own, all released at once. Each round must come to one sealing key, and to as
 * many logins as processes, every one of which opens afterwards. File keyring and Secret Service (gnome-keyring), with real
 * servers. Exits with 1 when a round came to anything else.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { processEnvironment } from '../src/system/environment.ts';
import { openVault } from '../src/vault/open.ts';
import { bundled } from '../test/support/homes/bundle.ts';
import { startServers } from '../test/support/servers/servers.ts';
import { desktop, noSecretService } from './storm/desktop.ts';
import { Place } from './storm/place.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '20' }, processes: { type: 'string', default: '16' } },
});
const [rounds, processes] = [Number(values.rounds), Number(values.processes)];
const place = await Place.make();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    process.exitCode = 1;
    void place.close().finally(() => process.exit());
  });
}
try {
  const servers = await startServers();
  place.ends(() => servers.stop());
  const worker = await bundled(
    place.path,
    'first-use',
    new URL('./storm/first-use-worker.ts', import.meta.url),
  );
  for (const keyring of ['file', 'secret-service']) {
    const missing = keyring === 'file' ? undefined : noSecretService();
    if (missing !== undefined) {
      console.log(`${keyring}: skipped, ${missing}`);
      continue;
    }
    let good = 0;
    const wrong: string[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      const problem = await firstUse(worker, servers.resource, keyring);
      if (problem === undefined) good += 1;
      else wrong.push(`round ${round}: ${problem}`);
    }
    if (wrong.length > 0) process.exitCode = 1;
    console.log(
      `${wrong.length === 0 ? 'ok  ' : 'OFF '} ${keyring.padEnd(15)} ${good} of ${rounds} rounds: ${processes} processes, 1 key, ${processes} logins that open`,
    );
    for (const line of wrong) console.log(`     ${line}`);
  }
} catch (error) {
  process.exitCode = 1;
  console.error(error);
} finally {
  await place.close();
}

/** One round. Answers what was wrong with it. */
async function firstUse(worker: string, server: string, keyring: string): Promise<string | undefined> {
  const round = await Place.make();
  try {
    const session = keyring === 'file' ? {} : await desktop(round);
    const home = join(round.path, 'home');
    const variables = {
      HOME: '/nonexistent',
      ...session,
      HOLDFAST_HOME: home,
      HOLDFAST_KEYRING: keyring,
    };
    const resources = Array.from({ length: processes }, (_, index) => `${server}/${index + 1}`);
    const children = resources.map((resource) => startWorker(worker, resource, variables));
    await Promise.all(children.map(({ stdout }) => once(stdout, 'data')));
    const ends = children.map((child) => endOf(child));
    for (const { stdin } of children) stdin.write('go\n');
    const failures = (await Promise.all(ends)).filter((end) => end !== 'done');
    if (failures.length > 0) return `${failures.length} logins failed: ${failures[0]}`;
    const kids = await readdir(join(home, 'credentials'));
    if (kids.length !== 1) return `${kids.length} keys`;
    const environment = { ...processEnvironment(), variables };
    const vault = openVault({ environment });
    const { credentials, undecryptable } = await vault.list();
    await vault.close();
    const open = new Set(credentials.map(({ resource }) => resource));
    if (undecryptable.length > 0) return `${undecryptable.length} records do not open`;
    return resources.every((resource) => open.has(resource)) ? undefined : `${open.size} logins are there`;
  } finally {
    await round.close();
  }
}

function startWorker(worker: string, resource: string, variables: Readonly<Record<string, string>>) {
  return spawn(process.execPath, [worker, resource], {
    env: { PATH: process.env['PATH'] ?? '', ...variables },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

async function endOf(child: ChildProcess): Promise<string> {
  let said = '';
  child.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  const [code, signal] = await once(child, 'close');
  return code === 0 ? 'done' : `${code ?? signal}: ${said.slice(0, 300)}`;
}
