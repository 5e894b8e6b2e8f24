import type { Lifetime } from '../keyring.ts';

/*
 * Separate from `keyctl.ts`, so that listing the choices loads no system calls. The thread ring is left out: in a
 * single-threaded program it is the process ring.
 */

/** The kernel rings that a user may choose (keyrings(7)), and the lifetime of each. */
export const KEYCTL_LIFETIMES = {
  user: 'boot',
  persistent: 'three-days',
  usersession: 'boot',
  session: 'session',
  process: 'process',
} as const satisfies Record<string, Lifetime>;

export type KeyctlScope = keyof typeof KEYCTL_LIFETIMES;

export const KEYCTL_SCOPES = Object.keys(KEYCTL_LIFETIMES) as KeyctlScope[];
