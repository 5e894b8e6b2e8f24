import { CAUSES, type Family, familyOf, type Process, type State, type Token, token } from './state.ts';

/* How an authorization server treats a refresh token (RFC 9700 section 4.14.2, and observed servers). */

/**
 * `strict`: a token works once, and a second use ends the login. `grace`: inside a window the server answers the parent
 * of the newest token again with other tokens, and only the newest count. `replay`: it answers with the same tokens.
 * Processes know the mode, unless its name ends with `-unknown`; the old access token has then expired.
 */
export const MODES = ['strict', 'grace', 'replay', 'strict-unknown', 'grace-unknown'] as const;
export type Mode = (typeof MODES)[number];

export function isStrict(mode: Mode): boolean {
  return mode.startsWith('strict');
}

/** Whether processes wait for a silent holder. */
export function isPatient(mode: Mode): boolean {
  return mode === 'strict';
}

/** Whether processes know of a window. */
export function hasKnownWindow(mode: Mode): boolean {
  return mode === 'grace' || mode === 'replay';
}

/** Whether the server would accept that token. */
export function isGood({ families }: State, of: Token, mode: Mode): boolean {
  const family = families[familyOf(of) - 1];
  if (family === undefined || family.ended) return false;
  return of === family.current || (of === family.parent && family.window && !isStrict(mode));
}

/** Processes the request of a process, which may be dead by now. */
export function answer(state: State, own: Process, mode: Mode, isLock: boolean): void {
  const { sent } = own;
  // The next holder waits for such a request, since a lock is free at once.
  if (sent.late && sent.epoch < state.latest && (!isLock || isStrict(mode))) state.causes |= CAUSES.overtaken;
  state.latest = Math.max(state.latest, sent.epoch);
  own.sent = { ...sent, late: false };
  const family = state.families[familyOf(sent.token) - 1];
  if (family === undefined || !isGood(state, sent.token, mode)) {
    change(state, sent.token, { ended: true });
    own.message = 'refusal';
    return;
  }
  const { current } = family;
  if (sent.token === current) {
    change(state, sent.token, { parent: current, current: successor(current), window: true });
  } else if (!mode.startsWith('replay')) {
    change(state, sent.token, { current: current + 1 });
  }
  own.message = 'answer';
}

/** Revokes the token and its login (RFC 7009). The server no longer knows a spent token. */
export function revoke(state: State, of: Token, mode: Mode): boolean {
  if (!isGood(state, of, mode)) return false;
  change(state, of, { ended: true });
  return true;
}

export function change(state: State, of: Token, by: Partial<Family>): void {
  const index = familyOf(of) - 1;
  state.families = state.families.map((family, at) => (at === index ? { ...family, ...by } : family));
}

function successor(current: Token): Token {
  return token(familyOf(current), Math.floor((current % 100) / 10) + 1);
}

/** The tokens of the newest answer to the request of that process. */
export function givenTo({ families }: State, { sent }: Process): Token {
  return families[familyOf(sent.token) - 1]?.current ?? 0;
}
