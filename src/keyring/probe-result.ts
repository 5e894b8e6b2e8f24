import {
  HoldfastError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
  retryable,
} from '../errors.ts';
import type { KeyringProbe, Lifetime } from './keyring.ts';

/* A keyring that does not serve, as an error and as a probe's answer: the same four, each with its remedy. */

type Unusable = Exclude<KeyringProbe, { status: 'usable' }>;

/** Usable for that long where the step succeeds; otherwise why not. */
export function probing(lifetime: Lifetime, step: () => Promise<unknown>): Promise<KeyringProbe> {
  return probingLifetime(async () => {
    await step();
    return lifetime;
  });
}

/** Usable for as long as the step says, where it succeeds; otherwise why not. */
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
