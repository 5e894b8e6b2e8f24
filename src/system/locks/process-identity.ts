import { readFileSync, readlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';

/*
 * Who a process is, in words that another one can check: a number alone may have been given to someone else since, and
 * means nothing in another container or after a boot.
 */

export interface ProcessIdentity {
  /** The boot of the kernel it runs on; empty where the platform names none. */
  readonly boot: string;
  /**
   * The PID namespace of its number and the time namespace of its start time, with a blank between them; empty where the
   * platform has none. Identities written before the time namespace was recorded hold the first alone.
   */
  readonly namespace: string;
  readonly host: string;
  readonly pid: number;
  /** When the kernel started it, in the kernel's own ticks; empty where the platform does not say. */
  readonly started: string;
}

/** What can be known of a process from here. `unknown`: it is out of sight, so it must be taken for alive. */
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
 * Whether that process is still there.
 *
 * @param options.sameMachine that it ran on this machine is known, so one of an earlier boot is dead
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
  // The kernel shows start times shifted by the time namespace of the reader: those of two namespaces cannot be compared.
  const comparable = other.started !== '' && theirs.time === ours.time;
  if (other.pid === self.pid) return comparable && other.started === self.started ? 'alive' : 'dead';
  try {
    // Signal 0 asks whether the process exists; EPERM means that it does, and is someone else's.
    process.kill(other.pid, 0);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return 'dead';
  }
  if (!comparable) return 'unknown';
  try {
    const stat = await readFile(`/proc/${other.pid}/stat`, 'utf8');
    return startOf(stat) === other.started && !isZombie(stat) ? 'alive' : 'dead';
  } catch {
    // Hidden (hidepid), or gone since: the next look will tell.
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

/** Field 22 of proc(5) stat. The name in field 2 may hold spaces and brackets, so counting begins after its last one. */
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
