import { CAUSES, DEAD, type Holder, LIVE, PARENT, type Standing, type State, UNSENT } from './state.ts';

/*
 * What an authorization server does with a refresh token that is presented (reference: RFC 9700 section 4.14.2, and what
 * servers were seen to do). Windows are longer than what the model lets pass.
 */

export const MODES = ['strict', 'grace', 'replay', 'successor-used'] as const;

/**
 * `strict`: a token is good once; a second time ends the login. `grace`: the parent of the newest token is taken again and
 * yields another successor, and only the newest counts; anything older ends the login. `replay`: the parent is taken again
 * and yields the same successor. `successor-used`: as grace, but what is refused ends nothing.
 */
export type Mode = (typeof MODES)[number];

/** Processes the request of that holder, who need not be alive any more. */
export function present(state: State, holder: Holder, mode: Mode): void {
  if (holder.late && holder.epoch < state.latest) state.causes |= CAUSES.overtaken;
  state.latest = Math.max(state.latest, holder.epoch);
  holder.late = false;
  const { standing } = holder;
  if (!state.revoked && standing === LIVE) {
    reclassify(state, (of) => (of === LIVE ? PARENT : DEAD));
    state.parentSent = state.liveSent;
    state.liveSent = UNSENT;
    give(holder);
  } else if (!state.revoked && standing === PARENT && mode === 'replay') {
    give(holder);
  } else if (!state.revoked && standing === PARENT && mode !== 'strict') {
    if (state.standing === LIVE) state.causes |= CAUSES.older;
    reclassify(state, (of) => (of === LIVE ? DEAD : of));
    state.liveSent = UNSENT;
    give(holder);
  } else {
    if (mode !== 'successor-used') state.revoked = true;
    holder.message = 'refusal';
  }
}

/** Whether the server would take a token of that standing. */
export function isGood(standing: Standing, mode: Mode): boolean {
  return standing === LIVE || (standing === PARENT && mode !== 'strict');
}

function give(holder: Holder): void {
  holder.message = 'answer';
  holder.answer = LIVE;
}

/** Every copy of a token stands as the server sees it. */
function reclassify(state: State, change: (standing: Standing) => Standing): void {
  state.standing = change(state.standing);
  for (const holder of state.holders) {
    holder.standing = change(holder.standing);
    holder.answer = change(holder.answer);
    holder.spillStanding = change(holder.spillStanding);
  }
}
