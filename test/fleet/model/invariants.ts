import { isGood, type Mode } from './server.ts';
import { CAUSES, DEAD, LIVE, type Standing, type State } from './state.ts';

/** Whether something went wrong of which a lost login may come. */
export type Excuse = (state: State, mode: Mode) => boolean;

/**
 * The causes of a lost login, and there are no others; the first two no client can avoid:
 *
 * - strict server: a holder died, or a message was lost, between the first byte and the write, and with it perhaps the only
 *   copy of the new tokens; or a holder was stopped there for longer than lease and patience.
 * - any server: the network kept the request of a silent holder until the server had answered whoever claimed next. The
 *   newest tokens are then those of a request that nobody waits for.
 * - `grace` and `successor-used`: two faults at once. A holder was stopped with its answer for longer than its lease, or
 *   spilled it and died; whoever followed asked again and did not write the newer answer, being dead, or stopped for a lease
 *   in its turn, or cut off from it; then the first goes on and writes the older one.
 */
export function excused({ causes }: State, mode: Mode): boolean {
  const has = (cause: number) => (causes & cause) !== 0;
  const answerLost = has(CAUSES.crashed) || has(CAUSES.lost);
  if (has(CAUSES.overtaken)) return true;
  if (mode === 'strict') return answerLost || has(CAUSES.overslept);
  return mode !== 'replay' && has(CAUSES.older) && (answerLost || has(CAUSES.lapsedAgain));
}

/** What is wrong with a state in which nothing is under way any more. */
export function brokenAtRest(state: State, mode: Mode, isExcused: Excuse): string | undefined {
  const isQuiet = state.holders.every(
    ({ run, point, message }) =>
      message === 'none' && (run === 'crashed' || (run === 'running' && point === 'idle')),
  );
  if (!isQuiet || state.revoked || isExcused(state, mode)) return undefined;
  if (!isGood(state.standing, mode)) return 'The stored token is not live.';
  if (state.marked) return 'The record stays login-required while the family is alive.';
  return undefined;
}

/** The login can still be saved: a token that the server takes is in the store, or in somebody's hands. */
export function isAlive(state: State, mode: Mode): boolean {
  if (state.revoked) return false;
  if (isGood(state.standing, mode)) return true;
  return state.holders.some(
    ({ run, answer, spillGeneration, spillStanding }) =>
      (run !== 'crashed' && answer === LIVE) || (spillGeneration > 0 && spillStanding === LIVE),
  );
}

/** No living holder has the newest answer, and an older one is there, which will be written: the last of the causes above. */
export function isFallingBack({ standing, holders }: State): boolean {
  const inHand = (what: Standing) =>
    holders.some(
      ({ run, point, message, answer, spillGeneration, spillStanding }) =>
        run !== 'crashed' &&
        ((spillGeneration > 0 && spillStanding === what) ||
          ((message === 'answer' || point === 'response-received') && answer === what)),
    );
  return standing !== LIVE && !inHand(LIVE) && inHand(DEAD);
}

/** Where every refresh shall lead: the newest token is stored, both generations on. */
export function isFresh({ standing, marked, generation }: State, last: number): boolean {
  return standing === LIVE && !marked && generation === last;
}
