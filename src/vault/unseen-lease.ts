import { shellPath } from '../system/files/storage-error.ts';
import type { UnseenLease } from '../system/locks/lease-file.ts';

/** Maximum duration of a refresh, in milliseconds: its request times out after 90 seconds. */
const LONGEST_REFRESH_MS = 120_000;

/** Explains what happened and what to do. */
export function unseenLeaseWarning({ file, holder, since }: UnseenLease, now: number): [string, string] {
  const heldMs = Math.max(0, now - since);
  return [
    `${holder[0]?.toUpperCase()}${holder.slice(1)} holds the lease file ${shellPath(file)} for ${duration(heldMs)}, and cannot be seen from here: it may have been killed.`,
    heldMs < LONGEST_REFRESH_MS
      ? 'A refresh takes two minutes at most. If the file is still there after that: holdfast doctor'
      : `Nobody else can refresh that login meanwhile. If that process is gone for good: rm ${shellPath(file)}`,
  ];
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} ${seconds === 1 ? 'second' : 'seconds'}`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
}
