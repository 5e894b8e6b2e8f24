import type { Lifetime } from '../keyring.ts';

/*
 * Apart from `keyctl.ts`, so that naming the choices loads no system calls. The thread's ring is left out: to a program
 * of one thread it is the process's.
 */

/** The rings of the kernel that a user may choose (keyrings(7)), and how long each lasts. */
export const KEYCTL_LIFETIMES = {
  user: 'boot',
  persistent: 'three-days',
  usersession: 'boot',
  session: 'session',
  process: 'process',
} as const satisfies Record<string, Lifetime>;

export type KeyctlScope = keyof typeof KEYCTL_LIFETIMES;

export const KEYCTL_SCOPES = Object.keys(KEYCTL_LIFETIMES) as KeyctlScope[];
