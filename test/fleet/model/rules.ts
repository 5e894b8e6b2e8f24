/*
 * The rules of the protocol (docs/refresh.md, docs/fleet.md). A rule can be switched off to see what it prevents
 * (mutants.ts).
 */

export const FULL = {
  /** A process checks its claim right before the first byte. */
  fence: true,
  /** At a strict server every operation waits a further time before it follows a silent claim. */
  patience: true,
  operationsPatience: true,
  leaseLapses: true,
  /** Each open claim has a whole lease after the engine starts. */
  startFloor: true,
  /** A claim is durable before anything is sent. */
  intent: true,
  /** A process writes an answer by version, even if another has the lease. */
  writeByVersion: true,
  /** A process puts an answer that the store does not accept into the outbox, and retries. */
  outbox: true,
  /** Only outbox entries that the record supersedes are removed. */
  removeOnlySuperseded: true,
  /** Every operation recovers the outbox under its lease. */
  operationsBringHome: true,
  /**
   * After a claim that was never given back, the record is read after the outbox, whose entries may be stored by then.
   */
  lookAfterAbandoned: true,
  /** Of two answers to one refresh token, that of the later claim stays. */
  siblingOrder: true,
  /** An older generation never replaces a later one. */
  generationOrder: true,
  /** Another login is not an older state of this login. */
  loginOrder: true,
  /** A process announces a request only while the record has the claimed version. */
  announceVersion: true,
  /** A process sends nothing before the engine has confirmed its announcement. */
  announceAwaited: true,
  /** If the newest answer counts, a write demands that no later claim has announced a request. */
  conditionalWrite: true,
  /** A later claim without an announcement does not count. */
  unlessUnsent: true,
  /** The demand applies only inside the window. */
  onlyInWindow: true,
  /** A process whose record is gone looks for the login by name. */
  findByName: true,
  /** A process whose login was removed revokes its tokens. */
  revokeWhenRemoved: true,
  /** An export ends only while its claim is the latest. */
  exportIfLast: true,
  /** Nothing is exported while its last holder is silent or got no answer. */
  nothingInDoubt: true,
  /** A refusal counts only when it was given twice. */
  refusedTwice: true,
  /** A refused process reads the record again before it marks it. */
  lookBeforeMark: true,
  /** A request without an answer is not repeated while the server may still process it. */
  pauseInDoubt: true,
  /** Epochs follow the engine's clock, so they also rise through a failover. */
  epochByClock: true,
  /** A process at once repeats a write that it saw and that the store has forgotten. */
  repair: true,
  /** A process may use a claim whose answer was lost only while that claim is the latest and open. */
  ghostOnlyWhileLast: true,
  /** A lock is free at once, so the next holder waits for the request of a killed one to pass. */
  letPass: true,
} as const;

export type Rule = keyof typeof FULL;
export type Rules = Readonly<Record<Rule, boolean>>;
