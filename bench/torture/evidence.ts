import type { Stored } from './credentials.ts';
import type { History } from './history.ts';
import type { Mode } from './issuer.ts';
import type { Issued, Presentation } from './server.ts';
import type { Absence, Login, Operation, Span } from './troubles.ts';

/** What is known of a run when it is over. Times are milliseconds of the shared clock. */
export interface Evidence {
  readonly mode: Mode;
  readonly faults: number;
  readonly log: readonly Presentation[];
  readonly issued: ReadonlyMap<string, Issued>;
  readonly revokedAt: (family: number) => number | undefined;
  readonly loggedOutAt: (family: number) => number | undefined;
  readonly histories: readonly History[];
  readonly spans: readonly Span[];
  /** The logins at the server, by their number: one that has ended is followed by another. */
  readonly logins: readonly Login[];
  readonly operations: readonly Operation[];
  readonly absences: readonly Absence[];
  /** When nothing ran in the harness itself, which is the server and the network, too. */
  readonly stalls: readonly (readonly [number, number])[];
  /** How long an access token lives, a lease lasts, and a window for replays is open. */
  readonly lifeMs: number;
  readonly leaseMs: number;
  readonly windowMs: number;
  /** What is stored in the end, of each credential. */
  readonly final: readonly (Final | undefined)[];
  /** What was seen while it ran that must not be. */
  readonly seen: readonly string[];
  readonly leaks: readonly string[];
}

export interface Final {
  readonly stored: Stored;
  /** Which login it is of, and the refresh token that is good for that one. */
  readonly family: number | undefined;
  readonly live: string;
}
