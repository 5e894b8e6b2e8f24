/**
 * Adds one to the number in a file, under a lock and in two steps, as many times as an argument says. A lost turn shows
 * in the sum. In the turn numbered by a fourth argument it kills itself, with the lock held and before the write.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { acquireLock, lockKindOf } from '../../../src/system/locks/lock.ts';

const [path = '', kind, turns, dieAt] = process.argv.slice(2);
for (let turn = 0; turn < Number(turns); turn += 1) {
  const lock = await acquireLock(`${path}.lock`, {
    waitMs: 60_000,
    kind: lockKindOf({ HOLDFAST_LOCK: kind }),
  });
  const number = Number(await readFile(path, 'utf8'));
  if (turn === Number(dieAt)) process.kill(process.pid, 'SIGKILL');
  await writeFile(path, String(number + 1));
  await lock.release();
}
