import type { Mode } from './server.ts';
import type { CAUSES } from './state.ts';

/*
 * A world for each excused cause (invariants.ts) in which that cause loses a login. An excuse without a world is not
 * needed.
 */

export const CAUSES_LEFT: readonly {
  readonly cause: keyof typeof CAUSES;
  readonly title: string;
  readonly world: string;
  readonly mode: Mode;
}[] = [
  { cause: 'crashed', title: 'the only process with the answer died', world: 'two crashes', mode: 'strict' },
  { cause: 'lost', title: 'the answer was lost on the network', world: 'two lost messages', mode: 'strict' },
  {
    cause: 'overslept',
    title: 'a process was stopped with the answer for longer than lease and patience',
    world: 'a stop, and two refreshes after each other',
    mode: 'strict',
  },
  {
    cause: 'lapsed',
    title: 'nobody knew that the server is strict, and a process was stopped for longer than its lease',
    world: 'a stop, and two refreshes after each other',
    mode: 'strict-unknown',
  },
  {
    cause: 'overtaken',
    title: 'the network kept a request until the next one was answered',
    world: 'two crashes',
    mode: 'grace',
  },
  {
    cause: 'shortWindow',
    title: 'the server closed its window earlier than processes count with',
    world: 'a window that closes early, and a stop',
    mode: 'grace',
  },
  {
    cause: 'windowOver',
    title: 'the window closed before anybody asked again',
    world: 'a window that closes, a stop and a crash',
    mode: 'grace',
  },
  {
    cause: 'clock',
    title: 'the clock of the engine jumped over the lease of a process that was well',
    world: 'a clock of the engine that jumps',
    mode: 'strict',
  },
  {
    cause: 'forgotten',
    title: 'a replica took over without the last write, and nobody who knew it had looked',
    world: 'a fail-over without the last writes',
    mode: 'strict',
  },
  {
    cause: 'refusedTwice',
    title: 'the server refused a good token twice',
    world: 'two refusals of a good token',
    mode: 'strict',
  },
];
