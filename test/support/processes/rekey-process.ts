/** Rekeys HOLDFAST_HOME, and kills itself at the step with that number, if it gets that far. */
import { subscribe } from 'node:diagnostics_channel';
import { openVault } from '../../../src/vault/open.ts';

const dieAt = Number(process.argv[2] ?? 0);
let steps = 0;
subscribe('holdfast:step', () => {
  steps += 1;
  if (steps === dieAt) process.kill(process.pid, 'SIGKILL');
});
const vault = openVault({ keyring: 'file' });
const { moved } = await vault.admin.rekey();
await vault.close();
process.stdout.write(`${JSON.stringify({ moved, steps })}\n`);
