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
  {
    cause: 'crashed',
    title: 'a login is lost if the only process with the answer dies',
    world: 'two crashes',
    mode: 'strict',
  },
  {
    cause: 'lost',
    title: 'a login is lost if the network loses the answer',
    world: 'two lost messages',
    mode: 'strict',
  },
  {
    cause: 'overslept',
    title: 'a login is lost if a process is stopped with the answer for longer than lease and patience',
    world: 'a stop and two refreshes in a row',
    mode: 'strict',
  },
  {
    cause: 'lapsed',
    title:
      'a login is lost at a server not known as strict if a process is stopped for longer than its lease',
    world: 'a stop and two refreshes in a row',
    mode: 'strict-unknown',
  },
  {
    cause: 'overtaken',
    title: 'a login is lost if the network delays a request until the next one is answered',
    world: 'two crashes',
    mode: 'grace',
  },
  {
    cause: 'shortWindow',
    title: 'a login is lost if the server closes its replay window earlier than processes assume',
    world: 'a replay window that closes early, and a stop',
    mode: 'grace',
  },
  {
    cause: 'windowOver',
    title: 'a login is lost if the replay window closes before any process asks again',
    world: 'a replay window that closes, a stop and a crash',
    mode: 'grace',
  },
  {
    cause: 'clock',
    title: 'a login is lost if the engine’s clock jumps over the lease of a healthy process',
    world: 'a jump of the engine’s clock',
    mode: 'strict',
  },
  {
    cause: 'forgotten',
    title:
      'a login is lost if a replica takes over without the last write before a process that knows it looks',
    world: 'a failover without the last writes',
    mode: 'strict',
  },
  {
    cause: 'refusedTwice',
    title: 'a login is lost if the server refuses a good token twice',
    world: 'two refusals of a good token',
    mode: 'strict',
  },
];
