import { readFileSync, readlinkSync } from 'node:fs';
import { uptime } from 'node:os';

/*
 * How old something is, whatever happens to the wall clock. The kernel's boot-time clock cannot be set and goes on while
 * a laptop sleeps, but it means something only within one boot; across boots the wall clock is all there is.
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
 * How long ago, in milliseconds. By the wall clock alone it may be negative: then one of the two moments was taken by a
 * clock that was wrong, and the age is not known.
 */
export function ageOf(then: Moment, now: Moment): number {
  return then.boot !== undefined && then.boot.id === now.boot?.id
    ? now.boot.ms - then.boot.ms
    : now.wall - then.wall;
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
