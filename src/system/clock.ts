import { readFileSync, readlinkSync } from 'node:fs';
import { uptime } from 'node:os';

/*
 * Measures age with two clocks and takes the greater result. Within one boot nobody can set the kernel's boot-time
 * clock, and it runs while a laptop sleeps. So a wall clock that is set back makes nothing younger. The boot-time clock
 * stops while a virtual machine is suspended, so a wall clock that is ahead counts too: a wrong one costs one early
 * refresh. Across boots only the wall clock is available.
 */

/** A moment on both clocks. */
export interface Moment {
  /** Milliseconds since the epoch. */
  readonly wall: number;
  /** Milliseconds since that boot; absent on platforms that do not identify their boots. */
  readonly boot?: { readonly id: string; readonly ms: number } | undefined;
}

/** A moment on two clocks that nobody can set. One of them runs while a laptop sleeps. */
export interface ElapsingMoment {
  /** Milliseconds, precise. */
  readonly running: number;
  /** Milliseconds since the boot, with a resolution of 10 milliseconds. */
  readonly boot: number;
}

export function elapsingMoment(): ElapsingMoment {
  return { running: performance.now(), boot: uptime() * 1000 };
}

/** Returns the milliseconds since `then`, on the clock that shows more. */
export function elapsedSince(then: ElapsingMoment): number {
  const now = elapsingMoment();
  return Math.max(now.running - then.running, now.boot - then.boot);
}

let bootId: string | undefined;

export function thisMoment(): Moment {
  bootId ??= readBootId();
  const wall = Date.now();
  return bootId === '' ? { wall } : { wall, boot: { id: bootId, ms: Math.round(uptime() * 1000) } };
}

/**
 * Returns the age of `then` in milliseconds: within one boot, the greater of the two clocks' ages. Across boots the age
 * may be negative. Then one of the two moments comes from a wrong clock, and the age is unknown.
 */
export function ageOf(then: Moment, now: Moment): number {
  const byWall = now.wall - then.wall;
  if (then.boot === undefined || then.boot.id !== now.boot?.id) return byWall;
  return Math.max(byWall, now.boot.ms - then.boot.ms);
}

/** Identifies the boot and the time namespace, since a time namespace may shift the boot-time clock. */
function readBootId(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/time')}`;
  } catch {
    return '';
  }
}
