import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Environment } from '../environment.ts';
import { overwriteFile } from '../files/atomic-file.ts';
import { readPrivateFile } from '../files/private-directory.ts';
import { thisProcess } from '../locks/process-identity.ts';

/*
 * Records the machines that have written a login. A home that is copied to a second machine gives both the same refresh
 * token. If the server rotates it, they log each other out.
 *
 * - A machine means one run of a kernel (its boot id), not a name or an id. All containers of one kernel share its
 *   locks. Sandboxes that use a volume in turn are a new machine each time, and that is fine. But a boot that writes
 *   again after another boot has written was alive in between. Then two machines run at once; a chain of sandboxes
 *   never looks like that.
 * - The machine id tells a reboot from another machine. It is stored as a keyed hash, as machine-id(5) requires.
 * - Nothing is recorded on systems without a boot id (macOS, Windows), since a host name alone changes with the network
 *   there.
 */

/** A machine that wrote a login. A list of them is in the order of their turns. */
export interface MachineUse {
  /** A hash of the machine's id; empty without an id, as in many containers. */
  readonly machine: string;
  readonly host: string;
  readonly boot: string;
  /** The time of its first write in this turn, in milliseconds since the epoch. */
  readonly at: number;
}

const MOST_TURNS = 6;
const NOTE_BYTES = 2048;
const MAX_HOST_LENGTH = 64;

/** The age, in milliseconds, at which a turn no longer counts: the user has stopped copying the directory. */
const TURNS_COUNT_FOR_MS = 7 * 24 * 60 * 60 * 1000;

/**
 * Records that this machine writes the login now. Reads once, and writes only if another machine or boot wrote last.
 */
export async function noteMachine(path: string, environment: Environment): Promise<void> {
  const { boot, host } = thisProcess();
  if (boot === '') return;
  const uses = await machinesIn(path, environment);
  if (uses.at(-1)?.boot === boot) return;
  const now = {
    machine: await hashedMachineId(),
    host: host.slice(0, MAX_HOST_LENGTH),
    boot,
    at: Date.now(),
  };
  // Always the same size, so that a short write leaves no end of an older note behind.
  const bytes = Buffer.alloc(NOTE_BYTES, ' ');
  bytes.write(JSON.stringify([...uses, now].slice(-MOST_TURNS)), 'utf8');
  await overwriteFile(path, bytes);
}

/** Reads the recorded machines; an empty list if the record is damaged. */
export async function machinesIn(path: string, environment: Environment): Promise<readonly MachineUse[]> {
  try {
    const bytes = await readPrivateFile(path, environment, { maxBytes: NOTE_BYTES });
    const noted: unknown = JSON.parse(bytes?.toString('utf8') ?? '[]');
    return Array.isArray(noted) && noted.length <= MOST_TURNS && noted.every(isUse) ? noted : [];
  } catch {
    // The record is best effort.
    return [];
  }
}

function isUse(one: unknown): one is MachineUse {
  if (typeof one !== 'object' || one === null) return false;
  const { machine, host, boot, at } = one as Record<string, unknown>;
  return [machine, host, boot].every((text) => typeof text === 'string') && Number.isSafeInteger(at);
}

export function isThisMachine({ boot }: MachineUse): boolean {
  return boot === thisProcess().boot;
}

/** Returns the last machine that is certainly another one. */
export async function otherMachine(uses: readonly MachineUse[]): Promise<MachineUse | undefined> {
  const { host } = thisProcess();
  const machine = await hashedMachineId();
  return uses.findLast((use) => {
    if (isThisMachine(use)) return false;
    return use.machine !== '' && machine !== '' ? use.machine !== machine : use.host !== host;
  });
}

/** Returns the host names of two machines that wrote the login in turns, each while the other was running. */
export function takingTurns(uses: readonly MachineUse[], now: number): readonly [string, string] | undefined {
  for (const [index, again] of uses.entries()) {
    const first = uses.findIndex(({ boot }) => boot === again.boot);
    const between = uses[first + 1];
    if (first === index || between === undefined || now - again.at > TURNS_COUNT_FOR_MS) continue;
    return [again.host, between.host];
  }
  return undefined;
}

async function hashedMachineId(): Promise<string> {
  try {
    const id = (await readFile('/etc/machine-id', 'ascii')).trim();
    if (!/^[0-9a-f]{32}$/.test(id)) return '';
    return createHmac('sha256', id).update('holdfast machine note').digest('base64url').slice(0, 22);
  } catch {
    return '';
  }
}
