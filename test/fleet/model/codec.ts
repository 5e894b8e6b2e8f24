import { type Holder, MESSAGES, POINTS, RUNS, type Sent, type Standing, type State } from './state.ts';

/*
 * A state as a short text, the same for the same state: the key by which the search knows where it has been. Which holder
 * is which makes no difference, so their texts are sorted.
 */

const STATE_LENGTH = 16;
const HOLDER_LENGTH = 13;

export function encode(state: State): string {
  const { holders, ...s } = state;
  const head = String.fromCharCode(
    s.generation,
    s.standing,
    s.by,
    Number(s.marked),
    s.epoch,
    Number(s.open),
    s.age,
    Number(s.revoked),
    s.latest,
    s.liveSent,
    s.parentSent,
    s.causes,
    s.crashes,
    s.stops,
    s.losses,
    s.outages,
  );
  return head + holders.map(encodeHolder).sort().join('');
}

function encodeHolder(h: Holder): string {
  return String.fromCharCode(
    POINTS.indexOf(h.point),
    RUNS.indexOf(h.run),
    MESSAGES.indexOf(h.message),
    Number(h.late),
    Number(h.current),
    Number(h.stale),
    h.epoch,
    h.generation,
    h.standing,
    h.answer,
    h.spillGeneration,
    h.spillStanding,
    h.spillEpoch,
  );
}

export function decode(text: string): State {
  const at = (index: number) => text.charCodeAt(index);
  const holders: Holder[] = [];
  for (let start = STATE_LENGTH; start < text.length; start += HOLDER_LENGTH) {
    holders.push(decodeHolder(text, start));
  }
  return {
    generation: at(0),
    standing: at(1) as Standing,
    by: at(2),
    marked: at(3) === 1,
    epoch: at(4),
    open: at(5) === 1,
    age: at(6),
    revoked: at(7) === 1,
    latest: at(8),
    liveSent: at(9) as Sent,
    parentSent: at(10) as Sent,
    causes: at(11),
    crashes: at(12),
    stops: at(13),
    losses: at(14),
    outages: at(15),
    holders,
  };
}

function decodeHolder(text: string, start: number): Holder {
  const at = (index: number) => text.charCodeAt(start + index);
  return {
    point: POINTS[at(0)] ?? 'idle',
    run: RUNS[at(1)] ?? 'running',
    message: MESSAGES[at(2)] ?? 'none',
    late: at(3) === 1,
    current: at(4) === 1,
    stale: at(5) === 1,
    epoch: at(6),
    generation: at(7),
    standing: at(8) as Standing,
    answer: at(9) as Standing,
    spillGeneration: at(10),
    spillStanding: at(11) as Standing,
    spillEpoch: at(12),
  };
}
