/*
 * The state of the model: one login in one store, its lease, the outbox, an authorization server, a few processes and the
 * messages under way. There is no clock. Everything that time does is a step: a lease lapses, a window closes.
 */

/** A refresh token: family, generation at the server, and which answer to the same request. 0 is none. */
export type Token = number;

export function token(family: number, generation: number, sibling = 0): Token {
  return 100 * family + 10 * generation + sibling;
}

export function familyOf(of: Token): number {
  return Math.floor(of / 100);
}

/** What src/credential.ts says of the order of two states of a login. */
export interface Login {
  /** Which login: stands for `loggedInAt`. */
  readonly login: number;
  readonly generation: number;
  /** The claim under which the tokens were requested. */
  readonly epoch: number;
  readonly token: Token;
}

export interface Stored extends Login {
  readonly version: number;
  /** The sealing key: 0 the old one, 1 the new one. */
  readonly kid: number;
  /** `login-required`. */
  readonly marked: boolean;
  /** Only a note is left that it went to another machine. */
  readonly moved: boolean;
}

/** An answer in the outbox: a row that every machine sees (`machine` -1), or a file on one machine. */
export interface Entry extends Login {
  readonly machine: number;
  /** It is younger than the window that its process counts with. */
  readonly young: boolean;
}

/** The last claim, or the lock. */
export interface Lease {
  readonly epoch: number;
  readonly open: boolean;
  /** 0 in force, 1 lapsed, 2 lapsed and rested for the patience. */
  readonly age: number;
  /** The last claim whose holder has announced a request. */
  readonly sent: number;
  /** The note: a refusal was received for that generation of that login, or no answer, or its holder went silent. */
  readonly note: {
    readonly login: number;
    readonly generation: number;
    readonly refused: boolean;
    readonly silent: boolean;
  };
}

/** One login at the server. */
export interface Family {
  readonly current: Token;
  readonly parent: Token;
  /** The server still answers the parent. */
  readonly window: boolean;
  readonly ended: boolean;
}

/** `refresh`, `serve` (a call that only looks), `rekey`, `logout`, `export` (with --move), `login`. */
export const OPERATIONS = ['refresh', 'serve', 'rekey', 'logout', 'export', 'login'] as const;
export type Operation = (typeof OPERATIONS)[number];

/** Where a process is in its operation. A stop or crash at one of them stands for every place up to the next step. */
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
  /** The record as it was read last. */
  base: Stored | undefined;
  /** The tokens that the caller had; an operation that finds others is over. */
  asked: Token;
  /** Its claim; 0 without one. */
  epoch: number;
  /** The claim before its own was never given back. */
  abandoned: boolean;
  /** The note says so of an earlier one, or that one, or this process itself, got no answer. */
  silent: boolean;
  /** By its own clock the lease may have passed on. */
  stale: boolean;
  /** Earlier holders, or this one, were refused with this generation. */
  refused: boolean;
  message: Message;
  /** What its request, which goes on without it, sends. */
  sent: { readonly token: Token; readonly epoch: number; readonly late: boolean };
  answer: Login | undefined;
  young: boolean;
  /** It brings that home, from the outbox or from its memory. */
  home: Login | undefined;
  /** Its answer is in no record yet: it writes it again. */
  pending: boolean;
  /** What it last saw written, or brought home. */
  written: Login | undefined;
  /** The store forgot that: it is written again. */
  repairs: boolean;
  /** A claim of its own whose answer was lost. */
  ghost: number;
}

/** What can have gone wrong of which a lost login may come; a set of bits. */
export const CAUSES = {
  /** A process died between its first byte and the write. */
  crashed: 1,
  /** A message was lost between process and server. */
  lost: 2,
  /** A process was stopped for longer than its lease, between its fence and its write. */
  lapsed: 4,
  /** A second one was. */
  lapsedAgain: 8,
  /** And for the patience, too. */
  overslept: 16,
  /** The server processed the request of an earlier claim after that of a later one. */
  overtaken: 32,
  /** The server closed its window earlier than processes count with. */
  shortWindow: 64,
  /** The engine's clock was set forwards while a process held its lease. */
  clock: 128,
  /** A replica took over without writes that had been acknowledged, and no process that knows them has looked yet. */
  forgotten: 256,
  /** The server refused good tokens twice. */
  refusedTwice: 512,
  /** An answer was set aside for one that nobody received, and the window closed before anybody asked again. */
  windowOver: 1024,
  /** A process was stopped for longer than its lease between its fence and its first byte. */
  gap: 2048,
} as const;

/** How many of each fault may still happen. */
export interface Faults {
  readonly crashes: number;
  readonly stops: number;
  /** Messages lost between process and server. */
  readonly losses: number;
  /** Writes that the store does not take. */
  readonly full: number;
  /** Answers to a claim that are lost. */
  readonly claims: number;
  /** Announcements of a request, or the engine's answers to them, that are lost on the way. */
  readonly announcements: number;
  /** Crashes of the engine. */
  readonly restarts: number;
  /** Fail-overs to a replica without the last writes. */
  readonly failovers: number;
  /** The engine's clock jumps forwards. */
  readonly jumps: number;
  /** Refusals of a server that would take the token. */
  readonly refusals: number;
  /** The window closes: first at the server, then by the clocks of the processes. */
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
  /** Of each machine. */
  files: readonly Entry[];
  /** What a replica has, from the moment at which it fell behind. */
  replica: Engine | undefined;
  /** The latest claim whose request the server has processed. */
  latest: number;
  families: readonly Family[];
  /** The token that another program was given, and whether it is the only copy. */
  exported: Token;
  /** The newest login that was made. */
  newestLogin: number;
  /** A logout removed the record. */
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

/** A login has just been saved, under the old key. */
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

/** src/credentials/versions.ts: `isNewer`. */
export function isNewer(answer: Login, stored: Login): boolean {
  if (answer.login !== stored.login) return false;
  if (answer.generation !== stored.generation) return answer.generation > stored.generation;
  return answer.epoch > stored.epoch;
}

export function isSame(a: Login, b: Login): boolean {
  return a.login === b.login && a.generation === b.generation && a.epoch === b.epoch && a.token === b.token;
}

/** Has the last claim, and it is open. */
export function isMine({ lease }: State, { epoch }: Process): boolean {
  return lease.open && epoch !== 0 && epoch === lease.epoch;
}

/** Has sent, or is about to, and no store has what came of it. */
export function isInDoubt({ point, message, pending, answer, run }: Process): boolean {
  if (message === 'request' || message === 'answer') return true;
  if (run === 'crashed') return false;
  return point === 'has passed the fence' || point === 'has sent' || pending || answer !== undefined;
}

/** Whether a process is in the middle of an operation. */
export function isBusy({ point, run, pending, repairs }: Process): boolean {
  return run !== 'crashed' && (point !== 'idle' || pending || repairs);
}
