import type { Mode } from './server.ts';
import type { Operation } from './state.ts';
import type { Configuration } from './steps.ts';

/*
 * The worlds that the search explores: a few processes each, and the operations and faults that can meet. Together they
 * cover what one world with everything in it would cover, except for faults of three kinds at once.
 */

export interface World extends Omit<Configuration, 'mode' | 'rules'> {
  readonly title: string;
  readonly modes: readonly Mode[];
  /** The search takes minutes, so it runs only with HOLDFAST_TEST_MODEL=long. */
  readonly isLong?: true;
}

const KNOWN: readonly Mode[] = ['strict', 'grace', 'replay'];
const ALL: readonly Mode[] = [...KNOWN, 'strict-unknown', 'grace-unknown'];
const refresh: Operation = 'refresh';

const TWO: readonly Operation[][] = [[refresh, refresh], [refresh]];
const THREE: readonly Operation[][] = [[refresh], [refresh], [refresh]];

export const WORLDS: readonly World[] = [
  { title: 'two crashes', modes: ALL, programs: THREE, faults: { crashes: 2 } },
  { title: 'a stop and two refreshes in a row', modes: ALL, programs: TWO, faults: { stops: 1 } },
  { title: 'a stop and a crash', modes: ALL, programs: THREE, faults: { stops: 1, crashes: 1 } },
  { title: 'a stop and a lost message', modes: KNOWN, programs: THREE, faults: { stops: 1, losses: 1 } },
  { title: 'two lost messages', modes: KNOWN, programs: TWO, faults: { losses: 2 } },
  {
    title: 'refused writes and a crash',
    modes: ALL,
    programs: TWO,
    faults: { full: 2, crashes: 1 },
  },
  {
    title: 'a refused write and a stop, on two machines',
    modes: KNOWN,
    programs: THREE,
    machines: [0, 0, 1],
    faults: { full: 1, stops: 1 },
  },
  {
    title: 'a claim without an answer, and a stop',
    modes: ALL,
    programs: TWO,
    faults: { claims: 1, stops: 1 },
  },
  {
    title: 'a crash of the engine and a stop',
    modes: ALL,
    programs: TWO,
    faults: { restarts: 1, stops: 1 },
  },
  { title: 'a jump of the engine’s clock', modes: ALL, programs: TWO, faults: { jumps: 1 } },
  {
    title: 'a replay window that closes early, and a stop',
    modes: ['grace', 'replay'],
    programs: TWO,
    faults: { windows: 2, stops: 1 },
  },
  {
    title: 'a replay window that closes, a stop and a crash',
    modes: ['grace'],
    programs: [[refresh], [refresh]],
    faults: { windows: 1, stops: 1, crashes: 1 },
  },
  {
    title: 'a temporary refusal and a stop',
    modes: ALL,
    programs: TWO,
    faults: { refusals: 1, stops: 1 },
  },
  { title: 'two refusals of a good token', modes: KNOWN, programs: TWO, faults: { refusals: 2 } },
  {
    title: 'a lost announcement and a stop',
    modes: ['grace', 'replay', 'strict-unknown', 'grace-unknown'],
    programs: TWO,
    faults: { announcements: 1, stops: 1 },
  },
  {
    title: 'a lost announcement, a stop and a crash',
    modes: ['grace'],
    programs: THREE,
    faults: { announcements: 1, stops: 1, crashes: 1 },
    isLong: true,
  },
  {
    title: 'a failover without the last writes',
    modes: KNOWN,
    programs: [[refresh, 'serve'], [refresh]],
    faults: { failovers: 1 },
  },
  {
    title: 'a failover and a refusal',
    modes: ['grace'],
    programs: TWO,
    faults: { failovers: 1, refusals: 1 },
  },
  {
    title: 'a rekey and a stop',
    modes: ALL,
    programs: [[refresh], ['rekey'], [refresh]],
    faults: { stops: 1 },
  },
  {
    title: 'a rekey, a refused write and a crash',
    modes: KNOWN,
    programs: [[refresh], ['rekey'], [refresh]],
    faults: { full: 1, crashes: 1 },
  },
  {
    title: 'an export and a stop',
    modes: ALL,
    programs: [[refresh], ['export'], [refresh]],
    faults: { stops: 1 },
  },
  {
    title: 'an export, a refused write and a crash',
    modes: KNOWN,
    programs: [[refresh], ['export']],
    faults: { full: 1, crashes: 1, stops: 1 },
  },
  {
    title: 'an export and a lost message',
    modes: KNOWN,
    programs: [[refresh], ['export'], ['export']],
    faults: { losses: 1 },
  },
  {
    title: 'a logout and a stop',
    modes: ALL,
    programs: [[refresh], ['logout'], [refresh]],
    faults: { stops: 1 },
  },
  {
    title: 'a logout, a refused write and a crash',
    modes: KNOWN,
    programs: [[refresh], ['logout']],
    faults: { full: 1, crashes: 1, stops: 1 },
  },
  {
    title: 'a login during a refresh, and a stop',
    modes: ALL,
    programs: [[refresh], ['login'], [refresh]],
    faults: { stops: 1 },
  },
  {
    title: 'a login during a refresh that cannot write',
    modes: KNOWN,
    programs: [[refresh], ['login']],
    faults: { full: 1, crashes: 1 },
  },
  { title: 'a login, a logout and a refresh', modes: KNOWN, programs: [[refresh], ['login'], ['logout']] },
  { title: 'a rekey, an export and a refresh', modes: KNOWN, programs: [[refresh], ['rekey'], ['export']] },
  {
    title: 'a kernel lock, a crash and a full disk',
    modes: ALL,
    store: 'lock',
    programs: [[refresh, refresh], [refresh]],
    faults: { crashes: 1, full: 1 },
  },
  {
    title: 'a kernel lock, a crash, a full disk, a rekey and a logout',
    modes: KNOWN,
    store: 'lock',
    programs: [[refresh], ['rekey'], ['logout']],
    faults: { crashes: 1, full: 1 },
  },
  { title: 'two stops', modes: ALL, programs: THREE, faults: { stops: 2 }, isLong: true },
  {
    title: 'a stop, a crash and a refused write',
    modes: ALL,
    programs: THREE,
    faults: { stops: 1, crashes: 1, full: 1 },
    isLong: true,
  },
  {
    title: 'a rekey, a stop, a crash and a refused write',
    modes: ALL,
    programs: [[refresh], ['rekey'], [refresh]],
    faults: { stops: 1, crashes: 1, full: 1 },
    isLong: true,
  },
  {
    title: 'an export, a stop and a crash',
    modes: ALL,
    programs: [[refresh], ['export'], [refresh]],
    faults: { stops: 1, crashes: 1 },
    isLong: true,
  },
  {
    title: 'a logout, a stop and a crash',
    modes: ALL,
    programs: [[refresh], ['logout'], [refresh]],
    faults: { stops: 1, crashes: 1 },
    isLong: true,
  },
  {
    title: 'a login, a stop and a crash',
    modes: ALL,
    programs: [[refresh], ['login'], [refresh]],
    faults: { stops: 1, crashes: 1 },
    isLong: true,
  },
];
