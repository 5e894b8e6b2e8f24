import { isGood, isStrict, type Mode } from './server.ts';
import { CAUSES, isBusy, isInDoubt, isNewer, type Login, type State } from './state.ts';

/* What must always hold, and the losses that no client can avoid. */

/** Whether a fault has occurred that can lose a login. */
export type Excuse = (state: State, mode: Mode) => boolean;

export const never: Excuse = () => false;

/**
 * The only causes of a lost login:
 *
 * - any server: the network kept the request of a silent process until the server had answered the next one, or for as
 *   long as a window; the server refused good tokens twice; a replica took over without acknowledged writes, and no
 *   process that knows them has looked yet; the engine's clock jumped over the lease of a process that was well.
 * - strict: a process died, or a message was lost, between the first byte and the write; or a process was stopped there
 *   for longer than lease and patience (if nobody knows that the server is strict: longer than its lease).
 * - `grace`, window known: the window closed earlier than processes expect, or before anybody asked again after an
 *   answer had been lost or set aside.
 * - `grace`, window not known: two faults at once. The follower of a silent process lost the newer answer, and the
 *   silent process, or its entry in the outbox, came back with the older one.
 */
export function excused({ causes }: State, mode: Mode): boolean {
  const has = (cause: keyof typeof CAUSES) => (causes & CAUSES[cause]) !== 0;
  const answerLost = has('crashed') || has('lost');
  if (has('overtaken') || has('refusedTwice') || has('forgotten') || has('clock')) return true;
  if (isStrict(mode)) {
    return answerLost || has('overslept') || (mode === 'strict-unknown' && has('lapsed'));
  }
  const nobodyHasIt = answerLost || has('lapsed');
  if ((has('shortWindow') || has('windowOver')) && nobodyHasIt) return true;
  if (mode === 'grace-unknown')
    return (answerLost && has('lapsed')) || has('lapsedAgain') || (has('crashed') && has('lost'));
  return false;
}

/**
 * The newest state that the next process finds. A refresh reads the engine's outbox only if a claim was never given
 * back.
 */
export function found({ record, rows, files, lease }: State): Login | undefined {
  if (record === undefined) return undefined;
  const entries = [...(lease.open ? rows : []), ...files].filter(({ login }) => login === record.login);
  return entries.reduce<Login>((a, b) => (isNewer(b, a) ? b : a), record);
}

/** The violation in a state at rest, in which nothing is in progress any more. */
export function brokenAtRest(state: State, mode: Mode, excuse: Excuse): string | undefined {
  const { record, families, newestLogin, loggedOut, exported, causes } = state;
  if (loggedOut) {
    // No process has these tokens; a process that had them would revoke them.
    if ((causes & (CAUSES.crashed | CAUSES.lost | CAUSES.forgotten | CAUSES.overtaken)) !== 0)
      return undefined;
    // Nobody revokes tokens in the outbox once their login is gone.
    if (state.rows.length + state.files.length > 0) return undefined;
    const isAlive = families[newestLogin - 1]?.ended === false;
    return isAlive ? 'Tokens of a login that was removed are left at the server.' : undefined;
  }
  if (excuse(state, mode)) return undefined;
  if (record === undefined) return 'The record is gone.';
  if (record.moved) {
    return isGood(state, exported, mode) ? undefined : 'The tokens that were exported are of no use.';
  }
  if (record.login !== newestLogin) return 'A newer login was overwritten.';
  const newest = found(state);
  if (newest === undefined || !isGood(state, newest.token, mode)) return 'The stored token is not live.';
  if (record.marked) return 'The login stays marked as ended while it is alive.';
  return undefined;
}

/** Whether the newest tokens are stored and nothing older is in progress, so that earlier faults no longer matter. */
export function isWhole(state: State): boolean {
  const { record, lease, families, processes, rows, files, replica } = state;
  if (record === undefined || record.marked || record.moved || replica !== undefined) return false;
  if (lease.open && lease.age > 0) return false;
  const family = families[Math.floor(record.token / 100) - 1];
  if (family === undefined || family.ended || family.current !== record.token) return false;
  if ([...rows, ...files].length > 0) return false;
  return processes.every((one) => {
    const holdsOlder =
      isBusy(one) && one.epoch > 0 && (one.base?.version !== record.version || one.epoch !== lease.epoch);
    if (one.point === 'marks' || one.point === 'was refused' || one.refused) return false;
    return one.message === 'none' && !isInDoubt(one) && !holdsOlder;
  });
}
