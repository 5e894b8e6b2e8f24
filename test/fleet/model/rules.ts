/*
 * What the protocol consists of (docs/refresh.md, docs/fleet.md). Each rule can be taken away, to see what it is there for
 * (mutants.ts).
 */

export const FULL = {
  /** The claim is checked right before the first byte. */
  fence: true,
  /** At a strict server a silent claim is followed only after a further rest; by every operation. */
  patience: true,
  operationsPatience: true,
  leaseLapses: true,
  /** After an engine's start each open claim has a whole lease. */
  startFloor: true,
  /** A claim is durable before anything is sent. */
  intent: true,
  /** An answer is written by version, whoever has the lease. */
  writeByVersion: true,
  /** What the store does not take is put into the outbox, and written again. */
  outbox: true,
  /** Only what the record supersedes is removed from there. */
  removeOnlySuperseded: true,
  /** Every operation brings home what waits there, under its lease. */
  operationsBringHome: true,
  /** Who follows a claim that was never given back reads the record after the outbox: its entries may be home by then. */
  lookAfterAbandoned: true,
  /** Of two answers to one refresh token that of the later claim stays. */
  siblingOrder: true,
  /** An older generation never takes the place of a later one. */
  generationOrder: true,
  /** Another login is no older state of this one. */
  loginOrder: true,
  /** A request is announced only while the record is the one that was claimed. */
  announceVersion: true,
  /** Nothing is sent before the engine has answered that the announcement counts. */
  announceAwaited: true,
  /** Where the newest answer counts, the write demands that no later claim has announced a request. */
  conditionalWrite: true,
  /** A later claim that has announced none does not count. */
  unlessUnsent: true,
  /** It is made only inside the window. */
  onlyInWindow: true,
  /** Who finds its record gone looks for it by name. */
  findByName: true,
  /** Who finds its login removed revokes what it holds. */
  revokeWhenRemoved: true,
  /** An export, too, ends only while its claim is the last. */
  exportIfLast: true,
  /** Nothing is exported while its last holder is silent, or got no answer. */
  nothingInDoubt: true,
  /** A refusal counts when it was given twice. */
  refusedTwice: true,
  /** Who was refused looks again before it marks the record. */
  lookBeforeMark: true,
  /** A request without an answer is not sent again while the server may still process it. */
  pauseInDoubt: true,
  /** Epochs are those of the engine's clock, so that they go up through a fail-over. */
  epochByClock: true,
  /** A process that saw something written that is not there any more writes it again, at once. */
  repair: true,
  /** A lost claim is a process's own only while it is the last, and open. */
  ghostOnlyWhileLast: true,
  /** Where a lock is free at once, the next holder lets the request of a killed one pass. */
  letPass: true,
} as const;

export type Rule = keyof typeof FULL;
export type Rules = Readonly<Record<Rule, boolean>>;
