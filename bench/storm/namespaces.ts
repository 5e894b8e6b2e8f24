import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { installed, requirement } from '../../test/support/requirement.ts';
import { end } from './desktop.ts';
import type { Place } from './place.ts';

export function noNamespaces(): string | undefined {
  return (
    requirement('only root can make PID namespaces', process.getuid?.() === 0) ??
    requirement('util-linux is not installed', ['unshare', 'nsenter', 'setpriv'].every(installed))
  );
}

/**
 * PID namespaces, as two containers have them: the numbers of the one mean nothing in the other, and here they differ, as
 * they do between containers that have run for a while. What starts a process in them, in turns. When the first process
 * of one ends, the kernel ends all the others in it.
 */
export async function pidNamespaces(
  place: Place,
  howMany: number,
): Promise<(index: number) => readonly string[]> {
  const launchers = await Promise.all(
    Array.from({ length: howMany }, (_, index) => pidNamespace(place, 1 + index * 1_000)),
  );
  return (index) => launchers[index % howMany] ?? [];
}

/** @param last the number of its newest process; the next ones have those that follow */
async function pidNamespace(place: Place, last: number): Promise<readonly string[]> {
  const first = `echo ${last} > /proc/sys/kernel/ns_last_pid; echo there; read _`;
  const args = ['--pid', '--fork', '--mount-proc', '--kill-child', '/bin/sh', '-c', first];
  // Its standard input is how it notices that we are gone, however we went.
  const unshare = spawn('unshare', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  place.ends(() => end(unshare));
  await once(unshare.stdout, 'data');
  const children = await readFile(`/proc/${unshare.pid}/task/${unshare.pid}/children`, 'utf8');
  // A signal to nsenter would leave the process that it started.
  const keeper = ['setpriv', '--pdeathsig', 'KILL'];
  return ['nsenter', '--target', children.trim(), '--pid', '--mount', '--', ...keeper];
}
