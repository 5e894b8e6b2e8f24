/** Milliseconds by the monotonic clock that all processes of this machine share, whatever their wall clocks say. */
export function sharedNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
