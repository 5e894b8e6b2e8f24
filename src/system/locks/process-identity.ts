import { readFileSync, readlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';

/*
 * Identifies a process so that another process can check it. A pid alone is not enough: the kernel may have reused it,
 * and it has no meaning in another container or after a boot.
 */

export interface ProcessIdentity {
  /** The boot id of its kernel; empty on platforms without one. */
  readonly boot: string;
  /**
   * The PID namespace of its pid and the time namespace of its start time, separated by a blank; empty on platforms
   * without namespaces. Identities written before Holdfast recorded the time namespace contain only the first.
   */
  readonly namespace: string;
  readonly host: string;
  readonly pid: number;
  /** Its start time in the kernel's ticks; empty if the platform does not reveal it. */
  readonly started: string;
}

/** The state of a process as seen from here. `unknown`: this process cannot see it, so it must be treated as alive. */
export type Liveness = 'alive' | 'dead' | 'unknown';

let own: ProcessIdentity | undefined;

export function thisProcess(): ProcessIdentity {
  own ??= {
    boot: quietly(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    namespace: quietly(() => [readlinkSync('/proc/self/ns/pid'), timeNamespace()].join(' ').trim()),
    host: hostname(),
    pid: process.pid,
    started: quietly(() => startOf(readFileSync('/proc/self/stat', 'utf8'))),
  };
  return own;
}

/**
 * Tells whether the other process still runs.
 *
 * @param options.sameMachine whether it certainly ran on this machine, so that a process of an earlier boot is dead
 */
export async function livenessOf(
  other: ProcessIdentity,
  options: { sameMachine: boolean },
): Promise<Liveness> {
  const self = thisProcess();
  if (other.host !== self.host && !options.sameMachine) return 'unknown';
  if (other.boot !== self.boot) return options.sameMachine && self.boot !== '' ? 'dead' : 'unknown';
  const [theirs, ours] = [namespacesOf(other), namespacesOf(self)];
  if (theirs.pid !== ours.pid) return 'unknown';
  // The kernel shifts start times by the reader's time namespace, so those of two namespaces cannot be compared.
  const comparable = other.started !== '' && theirs.time === ours.time;
  if (other.pid === self.pid) return comparable && other.started === self.started ? 'alive' : 'dead';
  try {
    // Signal 0 checks whether the process exists. EPERM means that it exists and belongs to someone else.
    process.kill(other.pid, 0);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return 'dead';
  }
  if (!comparable) return 'unknown';
  try {
    const stat = await readFile(`/proc/${other.pid}/stat`, 'utf8');
    return startOf(stat) === other.started && !isZombie(stat) ? 'alive' : 'dead';
  } catch {
    // The process is hidden (hidepid) or has just ended; the next check will tell.
    return 'unknown';
  }
}

function namespacesOf({ namespace }: ProcessIdentity): { readonly pid: string; readonly time: string } {
  const [pid = '', time = ''] = namespace.split(' ');
  return { pid, time };
}

/** Kernels before 5.6 have no time namespaces. */
function timeNamespace(): string {
  return quietly(() => readlinkSync('/proc/self/ns/time'));
}

/**
 * Returns field 22 of proc(5) stat. The name in field 2 may contain spaces and parentheses, so counting starts after
 * the last closing parenthesis.
 */
function startOf(stat: string): string {
  return fieldsAfterName(stat)[19] ?? '';
}

function isZombie(stat: string): boolean {
  return fieldsAfterName(stat)[0] === 'Z';
}

function fieldsAfterName(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function quietly(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}
