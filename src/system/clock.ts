import { readFileSync, readlinkSync } from 'node:fs';
import { uptime } from 'node:os';

/*
 * How old something is, by the clock that says more. Within one boot the kernel's boot-time clock cannot be set and goes on
 * while a laptop sleeps, so a wall clock that is set back makes nothing younger. It stands still while a virtual machine is
 * suspended, so a wall clock that is ahead counts too: if it is wrong, that costs one early refresh. Across boots the wall
 * clock is all there is.
 */

/** A moment, by both clocks. */
export interface Moment {
  /** Milliseconds since the epoch. */
  readonly wall: number;
  /** Milliseconds since that boot; absent where the platform does not name its boots. */
  readonly boot?: { readonly id: string; readonly ms: number } | undefined;
}

/** A moment by the two clocks of this process that nobody can set; one of them goes on while a laptop sleeps. */
export interface ElapsingMoment {
  /** Milliseconds, precise. */
  readonly running: number;
  /** Milliseconds since the boot, to a hundredth of a second. */
  readonly boot: number;
}

export function elapsingMoment(): ElapsingMoment {
  return { running: performance.now(), boot: uptime() * 1000 };
}

/** How many milliseconds have gone by since, by whichever of the two clocks says more. */
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
 * How long ago, in milliseconds: the greater of the two ages within one boot. Across boots it may be negative: then a wrong
 * clock took one of the two moments, and the age is not known.
 */
export function ageOf(then: Moment, now: Moment): number {
  const byWall = now.wall - then.wall;
  if (then.boot === undefined || then.boot.id !== now.boot?.id) return byWall;
  return Math.max(byWall, now.boot.ms - then.boot.ms);
}

/** The boot, and the time namespace, whose boot-time clock may be shifted. */
function readBootId(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/time')}`;
  } catch {
    return '';
  }
}
