/*
 * The state of the model: one login in one store, its lease, the outbox, an authorization server, a few processes and
 * the messages on their way. There is no clock. All effects of time are steps: a lease lapses, a window closes.
 */

/**
 * A refresh token: its family, its generation at the server, and which answer to the same request it is. 0 means no
 * token.
 */
export type Token = number;

export function token(family: number, generation: number, sibling = 0): Token {
  return 100 * family + 10 * generation + sibling;
}

export function familyOf(of: Token): number {
  return Math.floor(of / 100);
}

/** The values by which src/credentials/versions.ts orders two states of a login. */
export interface Login {
  /** The login, in place of `loggedInAt`. */
  readonly login: number;
  readonly generation: number;
  /** The claim under which the tokens were requested. */
  readonly epoch: number;
  readonly token: Token;
}

export interface Stored extends Login {
  readonly version: number;
  /** The sealing key: 0 is the old one, 1 the new one. */
  readonly kid: number;
  /** Marked as `login-required`. */
  readonly marked: boolean;
  /** The login was moved to another machine, and only a note is left. */
  readonly moved: boolean;
}

/** An answer in the outbox: a row that every machine sees (`machine` -1), or a file on one machine. */
export interface Entry extends Login {
  readonly machine: number;
  /** Younger than the window that its process expects. */
  readonly young: boolean;
}

/** The latest claim, or the lock. */
export interface Lease {
  readonly epoch: number;
  readonly open: boolean;
  /** 0: in force. 1: lapsed. 2: lapsed, and the patience is over too. */
  readonly age: number;
  /** The latest claim whose holder has announced a request. */
  readonly sent: number;
  /** The note about a generation of a login: it was refused, it got no answer, or its holder went silent. */
  readonly note: {
    readonly login: number;
    readonly generation: number;
    readonly refused: boolean;
    readonly silent: boolean;
  };
}

/** A login at the server. */
export interface Family {
  readonly current: Token;
  readonly parent: Token;
  /** Whether the server still answers the parent token. */
  readonly window: boolean;
  readonly ended: boolean;
}

/** The operations. `serve` only looks, and `export` moves the login. */
export const OPERATIONS = ['refresh', 'serve', 'rekey', 'logout', 'export', 'login'] as const;
export type Operation = (typeof OPERATIONS)[number];

/** The point of a process in its operation. A stop or crash there stands for any place before the next step. */
export const POINTS = [
  'idle',
  'wants the lease',
  'has claimed',
  'holds the lease',
  'has looked once more',
  'has announced',
  'has passed the fence',
  'has sent',
  'has to look again',
  'writes again',
  'was followed',
  'was refused',
  'marks',
  'has exported',
  'gives back',
  'gives back to claim again',
] as const;
export type Point = (typeof POINTS)[number];

export type Run = 'running' | 'stopped' | 'crashed';
export type Message = 'none' | 'request' | 'answer' | 'refusal';

export interface Process {
  done: number;
  point: Point;
  run: Run;
  /** The record as the process read it last. */
  base: Stored | undefined;
  /** The tokens that the caller had. An operation that finds others is over. */
  asked: Token;
  /** Its claim, or 0. */
  epoch: number;
  /** Whether the claim before its own was never given back. */
  abandoned: boolean;
  /** Whether an earlier holder (by the note), the holder before, or this process got no answer. */
  silent: boolean;
  /** Whether another process may have the lease by now, judged by its own clock. */
  stale: boolean;
  /** Whether earlier holders, or this process, were refused with this generation. */
  refused: boolean;
  message: Message;
  /** What its request sends, which continues without the process. */
  sent: { readonly token: Token; readonly epoch: number; readonly late: boolean };
  answer: Login | undefined;
  young: boolean;
  /** The unsaved state that it recovers, from the outbox or from its memory. */
  home: Login | undefined;
  /** Whether its answer is in no record yet, so that it retries the write. */
  pending: boolean;
  /** The newest state that it saw stored. */
  written: Login | undefined;
  /** Whether the store forgot that state, so that the process writes it again. */
  repairs: boolean;
  /** A claim of this process whose answer was lost. */
  ghost: number;
}

/** Faults that can lose a login; a set of bits. */
export const CAUSES = {
  /** A process died between its first byte and the write. */
  crashed: 1,
  /** A message was lost between process and server. */
  lost: 2,
  /** A process was stopped for longer than its lease, between its fence and its write. */
  lapsed: 4,
  /** A second process was stopped so. */
  lapsedAgain: 8,
  /** A process was stopped for longer than lease and patience. */
  overslept: 16,
  /** The server processed the request of an earlier claim after that of a later one. */
  overtaken: 32,
  /** The server closed its window earlier than processes expect. */
  shortWindow: 64,
  /** The engine's clock was set forward while a process held its lease. */
  clock: 128,
  /** A replica took over without acknowledged writes, and no process that knows them has looked yet. */
  forgotten: 256,
  /** The server refused good tokens twice. */
  refusedTwice: 512,
  /** An answer was set aside for one that nobody received, and the window closed before anybody asked again. */
  windowOver: 1024,
  /** A process was stopped for longer than its lease between its fence and its first byte. */
  gap: 2048,
} as const;

/** The remaining number of faults of each kind. */
export interface Faults {
  readonly crashes: number;
  readonly stops: number;
  /** Messages lost between process and server. */
  readonly losses: number;
  /** Writes that the store does not accept. */
  readonly full: number;
  /** Claims whose answers are lost. */
  readonly claims: number;
  /** Announcements of a request, or the engine's answers to them, that are lost. */
  readonly announcements: number;
  /** Crashes of the engine. */
  readonly restarts: number;
  /** Failovers to a replica without the last writes. */
  readonly failovers: number;
  /** Forward jumps of the engine's clock. */
  readonly jumps: number;
  /** Refusals by a server that would accept the token. */
  readonly refusals: number;
  /** Ends of the window: first at the server, then by the clocks of the processes. */
  readonly windows: number;
}

export const NO_FAULTS: Faults = {
  crashes: 0,
  stops: 0,
  losses: 0,
  full: 0,
  claims: 0,
  announcements: 0,
  restarts: 0,
  failovers: 0,
  jumps: 0,
  refusals: 0,
  windows: 0,
};

export interface Engine {
  record: Stored | undefined;
  lease: Lease;
  rows: readonly Entry[];
}

export interface State extends Engine {
  /** Outbox files of all machines. */
  files: readonly Entry[];
  /** The state of a replica, from the moment when it fell behind. */
  replica: Engine | undefined;
  /** The latest claim whose request the server has processed. */
  latest: number;
  families: readonly Family[];
  /** The token that another program got, and whether it is the only copy. */
  exported: Token;
  /** The newest login. */
  newestLogin: number;
  /** Whether a logout removed the record. */
  loggedOut: boolean;
  causes: number;
  left: Faults;
  processes: Process[];
}

export const NO_NOTE: Lease['note'] = { login: 0, generation: 0, refused: false, silent: false };
const NOT_SENT: Process['sent'] = { token: 0, epoch: 0, late: false };

export const IDLE: Process = {
  done: 0,
  point: 'idle',
  run: 'running',
  base: undefined,
  asked: 0,
  epoch: 0,
  abandoned: false,
  silent: false,
  stale: false,
  refused: false,
  message: 'none',
  sent: NOT_SENT,
  answer: undefined,
  young: false,
  home: undefined,
  pending: false,
  written: undefined,
  repairs: false,
  ghost: 0,
};

/** The state after a login was saved under the old key. */
export function initial(processes: number, left: Faults): State {
  const first = token(1, 0);
  return {
    record: {
      login: 1,
      generation: 1,
      epoch: 0,
      token: first,
      version: 1,
      kid: 0,
      marked: false,
      moved: false,
    },
    lease: { epoch: 0, open: false, age: 0, sent: 0, note: NO_NOTE },
    rows: [],
    files: [],
    replica: undefined,
    latest: 0,
    families: [{ current: first, parent: 0, window: false, ended: false }],
    exported: 0,
    newestLogin: 1,
    loggedOut: false,
    causes: 0,
    left,
    processes: Array.from({ length: processes }, () => IDLE),
  };
}

/** As `isNewer` in src/credentials/versions.ts. */
export function isNewer(answer: Login, stored: Login): boolean {
  if (answer.login !== stored.login) return false;
  if (answer.generation !== stored.generation) return answer.generation > stored.generation;
  return answer.epoch > stored.epoch;
}

export function isSame(a: Login, b: Login): boolean {
  return a.login === b.login && a.generation === b.generation && a.epoch === b.epoch && a.token === b.token;
}

/** Whether the process has the latest claim, and it is open. */
export function isMine({ lease }: State, { epoch }: Process): boolean {
  return lease.open && epoch !== 0 && epoch === lease.epoch;
}

/** Whether the process has sent, or is about to, and no store has the result. */
export function isInDoubt({ point, message, pending, answer, run }: Process): boolean {
  if (message === 'request' || message === 'answer') return true;
  if (run === 'crashed') return false;
  return point === 'has passed the fence' || point === 'has sent' || pending || answer !== undefined;
}

/** Whether a process is in the middle of an operation. */
export function isBusy({ point, run, pending, repairs }: Process): boolean {
  return run !== 'crashed' && (point !== 'idle' || pending || repairs);
}
