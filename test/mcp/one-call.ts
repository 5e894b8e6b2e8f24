/**
 * One process of several: waits until the file of the third argument exists, then connects by an SDK and calls a tool. The
 * first argument is a key of `WHOLE` in `clients.ts`, or `SDK v1, file` or `SDK v2, file` for the SDKs' own pattern over the
 * JSON file of the fourth argument. Prints `answered`, or the name of the error.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openVault } from '../../src/vault/open.ts';
import { type Connected, v1, v2, WHOLE } from './clients.ts';
import { fileProvider } from './file-provider.ts';

const [way = '', resource = '', go = '', file = ''] = process.argv.slice(2);
const vault = openVault({ keyring: 'file' });

async function connect(): Promise<Connected> {
  if (way === 'SDK v1, file') return v1(resource, { authProvider: fileProvider(file) });
  if (way === 'SDK v2, file') return v2(resource, { authProvider: fileProvider(file) });
  const whole = WHOLE[way];
  if (whole === undefined) throw new Error(`there is no way called ${way}`);
  return whole(vault, resource);
}

process.stderr.write('ready\n');
while (!existsSync(go)) await sleep(5);
try {
  const client = await connect();
  const answer = await client.call();
  process.stdout.write(answer.includes('You are alice.') ? 'answered' : answer);
  await client.close();
} catch (error) {
  process.stdout.write(error instanceof Error ? error.name : 'failed');
}
await vault.close();
