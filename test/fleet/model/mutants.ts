import type { Rule } from './rules.ts';
import type { Mode } from './server.ts';
import type { Operation } from './state.ts';
import type { Configuration } from './steps.ts';

/* The purpose of each rule of the protocol: a world in which something is lost without it. */

export interface Mutant {
  readonly rule: Rule;
  readonly title: string;
  /** The name of a world in configurations.ts, or another world. */
  readonly world: string | Omit<Configuration, 'mode' | 'rules'>;
  readonly mode: Mode;
  readonly broken: string;
}

const refresh: Operation = 'refresh';
const ENDED = 'The server ended the login.';
const DEAD = 'The stored token is not live.';
const TWICE = 'A refresh token was sent twice, and the first sender was well.';
const STOP = 'a stop, and two refreshes after each other';
const TWO = [[refresh], [refresh]];
const LATE_ENTRIES = { programs: [[refresh], [refresh, refresh]], faults: { stops: 1, full: 2, crashes: 1 } };

export const MUTANTS: readonly Mutant[] = [
  {
    rule: 'fence',
    title: 'without the fence a process that was stopped sends a spent token',
    world: STOP,
    mode: 'grace',
    broken: TWICE,
  },
  {
    rule: 'patience',
    title: 'without patience a process that is stopped with its answer is overtaken',
    world: STOP,
    mode: 'strict',
    broken: ENDED,
  },
  {
    rule: 'operationsPatience',
    title: 'an operation that does not wait for a silent process lets the next refresh overtake it',
    world: 'an export and a stop',
    mode: 'strict',
    broken: ENDED,
  },
  {
    rule: 'leaseLapses',
    title: 'without an end of the lease a lost claim keeps everybody out',
    world: 'a claim whose answer is lost, and a stop',
    mode: 'strict',
    broken: 'A waits for ever.',
  },
  {
    rule: 'startFloor',
    title: 'without a whole lease after a start of the engine a process that is well is overtaken',
    world: 'a crash of the engine, and a stop',
    mode: 'strict',
    broken: TWICE,
  },
  {
    rule: 'intent',
    title: 'without a durable claim the next process does not know of a request',
    world: 'a crash of the engine, and a stop',
    mode: 'strict',
    broken: TWICE,
  },
  {
    rule: 'writeByVersion',
    title: 'with a write by lease the only live tokens are dropped because they came late',
    world: STOP,
    mode: 'strict',
    broken: ENDED,
  },
  {
    rule: 'outbox',
    title: 'without the outbox a write that is not taken costs the login',
    world: 'writes that are not taken, and a crash',
    mode: 'strict',
    broken: DEAD,
  },
  {
    rule: 'removeOnlySuperseded',
    title: 'who removes all entries removes the newest one',
    world: LATE_ENTRIES,
    mode: 'strict',
    broken: DEAD,
  },
  {
    rule: 'operationsBringHome',
    title: 'an operation that leaves the outbox alone loses what waits there',
    world: 'an export, a write that is not taken and a crash',
    mode: 'strict',
    broken: DEAD,
  },
  {
    rule: 'lookAfterAbandoned',
    title: 'without a second look an answer that was just brought home is not seen',
    world: { programs: [[refresh], ['rekey'], [refresh]], faults: { full: 1, crashes: 1, stops: 1 } },
    mode: 'strict',
    broken: ENDED,
  },
  {
    rule: 'siblingOrder',
    title: 'without the order of siblings the older of two answers stays',
    world: 'a stop and a crash',
    mode: 'grace-unknown',
    broken: DEAD,
  },
  {
    rule: 'generationOrder',
    title: 'without the order of generations a late answer takes the place of a later one',
    world: 'writes that are not taken, and a crash',
    mode: 'strict',
    broken: 'The stored generation went down.',
  },
  {
    rule: 'loginOrder',
    title: 'an answer that takes another login for its own overwrites it',
    world: 'a login during a refresh that cannot write',
    mode: 'strict',
    broken: 'A newer login was overwritten.',
  },
  {
    rule: 'announceVersion',
    title:
      'who announces a request for a record that has changed sends spent tokens, and dies with the newer ones',
    world: { programs: TWO, faults: { stops: 1, crashes: 1 } },
    mode: 'grace',
    broken: DEAD,
  },
  {
    rule: 'announceAwaited',
    title: 'who does not wait for the announcement sends although a late answer was written meanwhile',
    world: { programs: TWO, faults: { stops: 1, crashes: 1 } },
    mode: 'grace',
    broken: DEAD,
  },
  {
    rule: 'conditionalWrite',
    title: 'without its condition a late answer is written over the parent of a newer one that died',
    world: { programs: TWO, faults: { stops: 1, crashes: 1 } },
    mode: 'grace',
    broken: DEAD,
  },
  {
    rule: 'unlessUnsent',
    title: 'an answer is set aside for a process that died before it sent',
    world: { programs: TWO, faults: { stops: 1, crashes: 1 } },
    mode: 'grace',
    broken: 'An answer was set aside, and nobody else had asked.',
  },
  {
    rule: 'onlyInWindow',
    title: 'an answer is set aside after the window, when its parent is of no use',
    world: 'a window that closes, a stop and a crash',
    mode: 'grace',
    broken: 'An answer was set aside after the window.',
  },
  {
    rule: 'findByName',
    title: 'who does not look for a moved record revokes the tokens of a living login',
    world: 'a rekey and a stop',
    mode: 'grace',
    broken: DEAD,
  },
  {
    rule: 'revokeWhenRemoved',
    title: 'who finds its login removed and revokes nothing leaves live tokens at the server',
    world: 'a logout and a stop',
    mode: 'strict',
    broken: 'Tokens of a login that was removed are left at the server.',
  },
  {
    rule: 'exportIfLast',
    title: 'an export that was held up leaves a note in place of a login that another process refreshes',
    world: 'an export and a stop',
    mode: 'strict',
    broken: 'The tokens that were exported are of no use.',
  },
  {
    rule: 'nothingInDoubt',
    title: 'an export takes the tokens that a silent process has used up',
    world: 'an export and a stop',
    mode: 'strict',
    broken: 'Spent tokens were exported.',
  },
  {
    rule: 'refusedTwice',
    title: 'with one refusal a passing one ends the login',
    world: 'a refusal that passes, and a stop',
    mode: 'strict',
    broken: 'The login was marked as ended while its token is good.',
  },
  {
    rule: 'lookBeforeMark',
    title: 'who marks without a look marks the tokens of another',
    world: { programs: TWO, faults: { refusals: 2, stops: 1 } },
    mode: 'grace',
    broken: 'Tokens were marked as refused that nobody had sent.',
  },
  {
    rule: 'pauseInDoubt',
    title: 'who does not wait sends a token again while the server is still at it',
    world: { programs: TWO },
    mode: 'strict',
    broken: ENDED,
  },
  {
    rule: 'epochByClock',
    title: 'with epochs that begin again two processes hold one claim after a fail-over',
    world: { programs: [[refresh, 'serve'], [refresh], [refresh]], faults: { failovers: 1, crashes: 1 } },
    mode: 'grace',
    broken: TWICE,
  },
  {
    rule: 'repair',
    title: 'what a replica has forgotten stays forgotten',
    world: 'a fail-over without the last writes',
    mode: 'strict',
    broken: DEAD,
  },
  {
    rule: 'ghostOnlyWhileLast',
    title: 'a lost claim that counts after its end lets two processes send',
    world: 'a claim whose answer is lost, and a stop',
    mode: 'strict',
    broken: TWICE,
  },
  {
    rule: 'letPass',
    title: 'without a rest after a kill the dead process’s request is answered last',
    world: 'a lock of the kernel, a crash and a full disk',
    mode: 'grace',
    broken: DEAD,
  },
];
