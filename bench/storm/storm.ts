import type { Counters, Servers } from '../../test/support/servers/servers.ts';
import type { Fleet } from './fleet.ts';

/** What is to be shown, and how. */
export interface Setting {
  readonly fleet: Fleet;
  readonly processes: number;
  /** How many want a token at once in each process. */
  readonly callers: number;
  readonly rounds: number;
  /** In how many of them one process goes alone first, to see what a refresh costs that nobody contends for. */
  readonly soloRounds: number;
  /** Makes the access token an expired one, and sees to it that the next one outlives the round. */
  readonly expire: () => Promise<void>;
}

/** What the authorization server counted, and what the callers got, over all rounds. */
export interface Result {
  /** How many there were; fewer than asked for when the login was lost. */
  readonly rounds: number;
  readonly processes: number;
  readonly callers: number;
  readonly tokenRequests: number;
  readonly validTokens: number;
  /** Grants that the server ended, and requests to its revocation endpoint. */
  readonly revocations: number;
  /** Rounds in which anything was other than it should be. */
  readonly roundsOff: number;
  /** Milliseconds, medians. */
  readonly lastMs: number;
  readonly soloMs: number;
  /** What was off, the first few. */
  readonly failures: readonly string[];
}

/** Rounds of one login: in each, all processes at one barrier, with one expired token. */
export async function storm(setting: Setting, servers: Servers): Promise<Result> {
  const { fleet, processes, callers, rounds, soloRounds, expire } = setting;
  const total = { tokenRequests: 0, validTokens: 0, revocations: 0, roundsOff: 0 };
  const last: number[] = [];
  const solo: number[] = [];
  const failures: string[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    if (round <= soloRounds) {
      const alone = await oneRound(1);
      solo.push(alone.lastMs);
      if (alone.off.length > 0) {
        failures.push(`round ${round}, before it, one process alone: ${alone.off.join('; ')}`);
        total.roundsOff += 1;
        break;
      }
    }
    const { lastMs, valid, counted, off } = await oneRound(processes);
    last.push(lastMs);
    total.tokenRequests += counted.tokenRequests;
    total.validTokens += valid;
    total.revocations += counted.revocations;
    if (off.length === 0) continue;
    total.roundsOff += 1;
    if (failures.length < 10) failures.push(`round ${round}: ${[...new Set(off)].slice(0, 5).join('; ')}`);
    // The login has ended, and further rounds would show nothing.
    if (counted.revocations > 0) break;
  }
  const [lastMs, soloMs] = [median(last), median(solo)];
  return { rounds: last.length, processes, callers, ...total, lastMs, soloMs, failures };

  async function oneRound(released: number) {
    await expire();
    const before = await servers.counters();
    const outcome = await fleet.release(released);
    const counted = since(before, await servers.counters());
    return { ...outcome, counted, off: whatIsOff(outcome, counted, released * callers) };
  }
}

interface Counted {
  readonly tokenRequests: number;
  readonly refreshGrants: number;
  readonly revocations: number;
}

export function since(before: Counters, now: Counters): Counted {
  return {
    tokenRequests: now.tokenRequests - before.tokenRequests,
    refreshGrants: now.refreshGrants - before.refreshGrants,
    revocations: now.grantsRevoked - before.grantsRevoked + now.revocations - before.revocations,
  };
}

function whatIsOff(
  {
    valid,
    fingerprints,
    failures,
  }: { valid: number; fingerprints: readonly string[]; failures: readonly string[] },
  { tokenRequests, refreshGrants, revocations }: Counted,
  wanted: number,
): string[] {
  const off: string[] = [];
  if (tokenRequests !== 1 || refreshGrants !== 1) {
    off.push(`${tokenRequests} token requests, ${refreshGrants} of them granted`);
  }
  if (valid !== wanted) off.push(`${valid} of ${wanted} callers have a valid token`);
  if (fingerprints.length !== 1) off.push(`${fingerprints.length} different tokens`);
  if (revocations !== 0) off.push(`${revocations} revocations`);
  return [...off, ...failures];
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
