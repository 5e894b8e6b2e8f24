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
const STOP = 'a stop and two refreshes in a row';
const TWO = [[refresh], [refresh]];
const LATE_ENTRIES = { programs: [[refresh], [refresh, refresh]], faults: { stops: 1, full: 2, crashes: 1 } };

export const MUTANTS: readonly Mutant[] = [
  {
    rule: 'fence',
    title: 'without the fence, a process that was stopped sends a used refresh token',
    world: STOP,
    mode: 'grace',
    broken: TWICE,
  },
  {
    rule: 'patience',
    title: 'without patience, the next holder overtakes a process that is stopped with its answer',
    world: STOP,
    mode: 'strict',
    broken: ENDED,
  },
  {
    rule: 'operationsPatience',
    title: 'an operation that does not wait for a silent process lets the next refresh overtake that process',
    world: 'an export and a stop',
    mode: 'strict',
    broken: ENDED,
  },
  {
    rule: 'leaseLapses',
    title: 'if a lease never expires, a lost claim blocks every process',
    world: 'a claim without an answer, and a stop',
    mode: 'strict',
    broken: 'A waits for ever.',
  },
  {
    rule: 'startFloor',
    title: 'without a whole lease after a restart of the engine, the next holder overtakes a healthy process',
    world: 'a crash of the engine and a stop',
    mode: 'strict',
    broken: TWICE,
  },
  {
    rule: 'intent',
    title: 'without a durable claim, the next holder does not know that a request was sent',
    world: 'a crash of the engine and a stop',
    mode: 'strict',
    broken: TWICE,
  },
  {
    rule: 'writeByVersion',
    title: 'if only the lease holder may write, a late answer with the only live tokens is dropped',
    world: STOP,
    mode: 'strict',
    broken: ENDED,
  },
  {
    rule: 'outbox',
    title: 'without the outbox, a refused write ends the login',
    world: 'refused writes and a crash',
    mode: 'strict',
    broken: DEAD,
  },
  {
    rule: 'removeOnlySuperseded',
    title: 'a process that removes all outbox entries removes the newest one',
    world: LATE_ENTRIES,
    mode: 'strict',
    broken: DEAD,
  },
  {
    rule: 'operationsBringHome',
    title: 'an operation that does not recover the outbox loses the tokens in it',
    world: 'an export, a refused write and a crash',
    mode: 'strict',
    broken: DEAD,
  },
  {
    rule: 'lookAfterAbandoned',
    title: 'without a second read of the record, a process misses an answer that was just recovered',
    world: { programs: [[refresh], ['rekey'], [refresh]], faults: { full: 1, crashes: 1, stops: 1 } },
    mode: 'strict',
    broken: ENDED,
  },
  {
    rule: 'siblingOrder',
    title: 'without the order of siblings, the older of two answers stays',
    world: 'a stop and a crash',
    mode: 'grace-unknown',
    broken: DEAD,
  },
  {
    rule: 'generationOrder',
    title: 'without the order of generations, a late answer replaces a newer one',
    world: 'refused writes and a crash',
    mode: 'strict',
    broken: 'The stored generation went down.',
  },
  {
    rule: 'loginOrder',
    title: 'an answer that mistakes another login for its own overwrites it',
    world: 'a login during a refresh that cannot write',
    mode: 'strict',
    broken: 'A newer login was overwritten.',
  },
  {
    rule: 'announceVersion',
    title:
      'a process that announces a request for a changed record sends a used token, and dies with the newer ones',
    world: { programs: TWO, faults: { stops: 1, crashes: 1 } },
    mode: 'grace',
    broken: DEAD,
  },
  {
    rule: 'announceAwaited',
    title:
      'a process that does not wait for its announcement sends although a late answer was written meanwhile',
    world: { programs: TWO, faults: { stops: 1, crashes: 1 } },
    mode: 'grace',
    broken: DEAD,
  },
  {
    rule: 'conditionalWrite',
    title: 'without its condition, a late answer overwrites the parent of a newer answer whose process died',
    world: { programs: TWO, faults: { stops: 1, crashes: 1 } },
    mode: 'grace',
    broken: DEAD,
  },
  {
    rule: 'unlessUnsent',
    title:
      'without the check for unsent claims, an answer is quarantined for a process that died before it sent',
    world: { programs: TWO, faults: { stops: 1, crashes: 1 } },
    mode: 'grace',
    broken: 'An answer was set aside, and nobody else had asked.',
  },
  {
    rule: 'onlyInWindow',
    title: 'without the limit of the window, an answer is quarantined when its parent is of no more use',
    world: 'a replay window that closes, a stop and a crash',
    mode: 'grace',
    broken: 'An answer was set aside after the window.',
  },
  {
    rule: 'findByName',
    title: 'a process that does not look for a moved record revokes the tokens of an active login',
    world: 'a rekey and a stop',
    mode: 'grace',
    broken: DEAD,
  },
  {
    rule: 'revokeWhenRemoved',
    title: 'a process that finds its login removed and revokes nothing leaves live tokens at the server',
    world: 'a logout and a stop',
    mode: 'strict',
    broken: 'Tokens of a login that was removed are left at the server.',
  },
  {
    rule: 'exportIfLast',
    title: 'a delayed export leaves a tombstone in place of a login that another process refreshes',
    world: 'an export and a stop',
    mode: 'strict',
    broken: 'The tokens that were exported are of no use.',
  },
  {
    rule: 'nothingInDoubt',
    title: 'without a check for requests in doubt, an export takes tokens that a silent process has used',
    world: 'an export and a stop',
    mode: 'strict',
    broken: 'Spent tokens were exported.',
  },
  {
    rule: 'refusedTwice',
    title: 'if one refusal counts, a temporary one ends the login',
    world: 'a temporary refusal and a stop',
    mode: 'strict',
    broken: 'The login was marked as ended while its token is good.',
  },
  {
    rule: 'lookBeforeMark',
    title: 'a process that does not read again before it marks a refusal marks the tokens of another process',
    world: { programs: TWO, faults: { refusals: 2, stops: 1 } },
    mode: 'grace',
    broken: 'Tokens were marked as refused that nobody had sent.',
  },
  {
    rule: 'pauseInDoubt',
    title: 'a process that does not wait sends a token again while the server still processes it',
    world: { programs: TWO },
    mode: 'strict',
    broken: ENDED,
  },
  {
    rule: 'epochByClock',
    title: 'if epochs restart, two processes hold one claim after a failover',
    world: { programs: [[refresh, 'serve'], [refresh], [refresh]], faults: { failovers: 1, crashes: 1 } },
    mode: 'grace',
    broken: TWICE,
  },
  {
    rule: 'repair',
    title: 'without repair, a write that a replica has lost stays lost',
    world: 'a failover without the last writes',
    mode: 'strict',
    broken: DEAD,
  },
  {
    rule: 'ghostOnlyWhileLast',
    title: 'if a lost claim counts after its end, two processes send',
    world: 'a claim without an answer, and a stop',
    mode: 'strict',
    broken: TWICE,
  },
  {
    rule: 'letPass',
    title: 'without a pause after a kill, the server answers the dead process’s request last',
    world: 'a kernel lock, a crash and a full disk',
    mode: 'grace',
    broken: DEAD,
  },
];
