/**
 * Asks for a token, and dies on the way: at the named step, by its own hand, or when its parent kills it, which is told
 * when the lease is wanted. The first argument is JSON: `{ resource, dieAt?: step }`. Prints `done` if it got so far.
 */
import { subscribe } from 'node:diagnostics_channel';
import { writeSync } from 'node:fs';
import type { StepMessage } from '../../../src/system/steps.ts';
import { openVault } from '../../../src/vault/vault.ts';

const { resource, dieAt }: { resource: string; dieAt?: string } = JSON.parse(process.argv[2] ?? '');
subscribe('holdfast:step', (message) => {
  const { step } = message as StepMessage;
  if (step === dieAt) process.kill(process.pid, 'SIGKILL');
  if (step === 'lease-wanted') writeSync(1, 'lease-wanted\n');
});
const vault = openVault({ keyring: 'file' });
vault
  .token(resource)
  .then(() => vault.close())
  .then(
    () => writeSync(1, 'done\n'),
    (error: unknown) => {
      writeSync(2, `${String(error)}\n`);
      process.exitCode = 1;
    },
  );
