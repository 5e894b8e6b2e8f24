import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { openKernelKeyring } from '../../../src/keyring/native/keyctl.ts';
import { type Ended, start, TYPESCRIPT } from '../processes/process.ts';
import { installed, requirement } from '../requirement.ts';

export const NO_KEYCTL = requirement(
  'keyctl (keyutils) is not installed, or the kernel keyring is refused here',
  installed('keyctl') && (await works()),
);

export const NOT_ROOT = requirement(
  'this is not root, or setpriv is not installed: other users cannot be tried',
  process.getuid?.() === 0 && installed('setpriv'),
);

/** For `skipIf`: other users cannot start the child, which runs from the sources, with the loader beside them. */
export const CLOSED_CHECKOUT = requirement(
  'this checkout lies where other users may not go (as below mktemp -d)',
  NOT_ROOT !== undefined || isOpenToOthers(),
);

const CHILD = fileURLToPath(new URL('keyctl-child.ts', import.meta.url));
const REFUSE = new URL('../preload/refuse-syscalls.mjs', import.meta.url).href;

export interface Surroundings {
  /** Runs as another user, with that number. */
  readonly uid?: number;
  /** Starts a new session, whose keyring links to no other. A string names the keyring. */
  readonly session?: boolean | string;
  /** Calls that the kernel refuses, and with which error number, such as `add_key=1`. */
  readonly refuse?: string;
  /** Uses the layout of 99designs/keyring for that service. */
  readonly service?: string;
}

/** A user id that nothing else uses, so that tests share no kernel keyring. Its keyrings are emptied at the end. */
export function freshUser(): number {
  const uid = 100_000 + Math.floor(Math.random() * 900_000);
  onTestFinished(async () => {
    await run([...asUser(uid), 'sh', '-c', 'keyctl clear @u; keyctl clear @us']);
  });
  return uid;
}

/** The command line that runs `keyctl-child.ts` in those surroundings. */
export function keyctlCommand(args: readonly string[], surroundings: Surroundings = {}): string[] {
  const { session = false } = surroundings;
  const refuse = surroundings.refuse === undefined ? [] : ['--import', REFUSE];
  return [
    ...asUser(surroundings.uid),
    ...(session === false ? [] : ['keyctl', 'session', session === true ? '-' : session]),
    process.execPath,
    ...refuse,
    ...TYPESCRIPT,
    CHILD,
    ...args,
  ];
}

export function run(command: readonly string[], surroundings: Surroundings = {}): Promise<Ended> {
  const [program = '', ...args] = command;
  return start(program, args, {
    // The loader would leave one cache directory for each user.
    TSX_DISABLE_CACHE: '1',
    HOLDFAST_TEST_REFUSE: surroundings.refuse ?? '',
    ...(surroundings.service === undefined ? {} : { HOLDFAST_TEST_SERVICE: surroundings.service }),
  }).ended;
}

/** Runs the child. @returns its output @throws if it fails */
export async function keyctlChild(args: readonly string[], surroundings: Surroundings = {}): Promise<string> {
  const { code, out, err } = await run(keyctlCommand(args, surroundings), surroundings);
  if (code !== 0) throw new Error(`${args.join(' ')} exited with ${code}:\n${err}`);
  return out.trim();
}

/** Runs a script with keyctl of keyutils as that user, in a session whose keyring links to the user's. */
export async function keyctlTool(script: string, { uid }: Surroundings = {}): Promise<string> {
  const session = ['keyctl', 'session', '-', 'sh', '-c', `keyctl link @u @s; ${script}`];
  const { code, out, err } = await run([...asUser(uid), ...session]);
  if (code !== 0) throw new Error(`${script} exited with ${code}:\n${err}`);
  return out.trim();
}

function asUser(uid: number | undefined): string[] {
  return uid === undefined ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
}

function isOpenToOthers(): boolean {
  const [program = '', ...as] = asUser(65_534);
  const here = fileURLToPath(import.meta.url);
  return spawnSync(program, [...as, 'test', '-r', here], { stdio: 'ignore' }).status === 0;
}

async function works(): Promise<boolean> {
  try {
    return (await (await openKernelKeyring('process')).probe()).status === 'usable';
  } catch {
    return false;
  }
}
