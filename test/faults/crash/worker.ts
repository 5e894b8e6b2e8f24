/**
 * Asks for a token, and is killed or stopped at a named step. It does that itself (`dieAt`, `stopAt`), or tells its
 * parent of the step (`tell`). The first argument is JSON: `{ resource, dieAt?, stopAt?, tell? }`. Prints `done` if it
 * gets that far.
 */
import { subscribe } from 'node:diagnostics_channel';
import { writeSync } from 'node:fs';
import type { StepMessage } from '../../../src/system/checkpoints.ts';
import { openVault } from '../../../src/vault/open.ts';

export interface WorkerSettings {
  readonly resource: string;
  readonly dieAt?: string | undefined;
  readonly stopAt?: string | undefined;
  /** The step to tell the parent of. */
  readonly tell?: string | undefined;
}

const { resource, dieAt, stopAt, tell }: WorkerSettings = JSON.parse(process.argv[2] ?? '');
subscribe('holdfast:step', (message) => {
  const { step } = message as StepMessage;
  if (step === dieAt) process.kill(process.pid, 'SIGKILL');
  if (step === tell) writeSync(1, `${step}\n`);
  if (step === stopAt) {
    writeSync(1, 'stopping\n');
    process.kill(process.pid, 'SIGSTOP');
  }
});
const vault = openVault({
  keyring: 'file',
  onEvent: ({ type }) => void writeSync(1, `event ${type}\n`),
});
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
