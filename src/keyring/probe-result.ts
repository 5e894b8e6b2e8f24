import {
  HoldfastError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
  retryable,
} from '../errors.ts';
import type { KeyringProbe, Lifetime } from './keyring.ts';

/* Converts an unusable keyring between an error and a probe result: the same four states, each with its fix. */

type Unusable = Exclude<KeyringProbe, { status: 'usable' }>;

/** Usable with this lifetime if the step succeeds; otherwise the reason. */
export function probing(lifetime: Lifetime, step: () => Promise<unknown>): Promise<KeyringProbe> {
  return probingLifetime(async () => {
    await step();
    return lifetime;
  });
}

/** Usable with the lifetime that the step returns, if it succeeds; otherwise the reason. */
export async function probingLifetime(step: () => Promise<Lifetime>): Promise<KeyringProbe> {
  try {
    return { status: 'usable', lifetime: await step() };
  } catch (error) {
    const known = error as HoldfastError;
    const hint = known.hint ?? 'See: holdfast doctor';
    return { status: statusOf(known), reason: known.message, hint, cause: known };
  }
}

export function statusOf(error: unknown): Unusable['status'] {
  if (error instanceof KeyringAbsentError) return 'absent';
  if (error instanceof KeyringLockedError) return 'locked';
  return error instanceof KeyringDeniedError ? 'denied' : 'broken';
}

export function errorOf(probe: Unusable): HoldfastError {
  const passes = probe.cause instanceof HoldfastError && probe.cause.retryable;
  return passes ? retryable(plainErrorOf(probe)) : plainErrorOf(probe);
}

function plainErrorOf(probe: Unusable): HoldfastError {
  const options = { hint: probe.hint, cause: probe.cause };
  switch (probe.status) {
    case 'absent':
      return new KeyringAbsentError(probe.reason, options);
    case 'locked':
      return new KeyringLockedError(probe.reason, options);
    case 'denied':
      return new KeyringDeniedError(probe.reason, options);
    case 'broken':
      return new KeyringBrokenError(probe.reason, options);
  }
}
