/** Takes the lock in the first argument, of the kind in the second, and holds it until it is killed. */
import { acquireLock, lockKindOf } from '../../../src/system/locks/lock.ts';

const [path, kind] = process.argv.slice(2);
if (path === undefined) throw new Error('usage: lock-holder PATH [KIND]');
await acquireLock(path, { waitMs: 30_000, kind: lockKindOf({ HOLDFAST_LOCK: kind }) });
process.stdout.write('locked\n');
setInterval(() => {}, 1000);
