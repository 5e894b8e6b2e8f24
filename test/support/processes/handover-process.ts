/**
 * One side of a hand-over in HOLDFAST_HOME: `move RESOURCE CODE` or `receive BLOB`. Kills itself at the step numbered
 * DIE_AT, if it gets that far. Waits for the file GO first, if it is set. Prints `{ blob, steps }`, or `{ code }` of
 * the error.
 */
import { subscribe } from 'node:diagnostics_channel';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../../../src/errors.ts';
import { openVault } from '../../../src/vault/open.ts';

const [what = '', first = '', second = ''] = process.argv.slice(2);
const { DIE_AT, GO } = process.env;
let steps = 0;
subscribe('holdfast:step', () => {
  steps += 1;
  if (steps === Number(DIE_AT ?? 0)) process.kill(process.pid, 'SIGKILL');
});
const vault = openVault({ keyring: 'file' });
process.stderr.write('ready\n');
while (GO !== undefined && !existsSync(GO)) await sleep(5);
try {
  const blob =
    what === 'move' ? (await vault.transfer.send(first, { to: second, mode: 'move' })).blob : await receive();
  process.stdout.write(JSON.stringify({ blob, steps }));
} catch (error) {
  if (!(error instanceof HoldfastError)) throw error;
  process.stdout.write(JSON.stringify({ code: error.code, steps }));
}
await vault.close();

async function receive(): Promise<undefined> {
  await vault.transfer.receive(first);
}
