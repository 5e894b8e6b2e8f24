/** Takes the lock named by the first argument, says so, and holds it until it is killed. */
import { acquireLock } from '../../src/system/lock.ts';

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error('usage: lock-holder PATH');
await acquireLock(path, { waitMs: 30_000 });
process.stdout.write('locked\n');
setInterval(() => {}, 1000);
