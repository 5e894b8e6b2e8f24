import {
  HoldfastError,
  InvalidArgumentError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
} from '../errors.ts';
import { quote } from '../quote.ts';
import type { Environment } from '../system/environment.ts';
import type { Layout } from '../system/paths.ts';
import type { Keyring, KeyringOpener, KeyringProbe, Lifetime, TierReport } from './keyring.ts';

/**
 * The keyrings of operating systems, the strongest first. The generic `file` and `pass` backends that other keyring
 * libraries list here are left out on purpose: they open unconditionally, and would hide that no keyring is there.
 */
export const NATIVE_KEYRINGS = ['wincred', 'keychain', 'secret-service', 'kwallet', 'keyctl'] as const;

/** The candidates of this platform: its native keyrings, then the file, then memory. */
export function defaultOpeners(environment: Environment, layout: Layout): readonly KeyringOpener[] {
  const openers: KeyringOpener[] = [];
  if (environment.platform === 'linux') {
    openers.push({
      id: 'secret-service',
      tier: 'native',
      open: async () => (await import('./secret-service.ts')).openSecretService(environment),
    });
  }
  openers.push(
    {
      id: 'file',
      tier: 'file',
      open: async () => new (await import('./file.ts')).FileKeyring(layout, environment),
    },
    { id: 'memory', tier: 'memory', open: async () => new (await import('./memory.ts')).MemoryKeyring() },
  );
  return openers;
}

/** A keyring that was opened and probed. */
export interface UsableKeyring {
  readonly keyring: Keyring;
  readonly lifetime: Lifetime;
}

type Found = { readonly usable: UsableKeyring } | { readonly error: HoldfastError };

/**
 * Which keyring serves (DESIGN section 4). Each candidate is opened and probed when its turn comes, and once; what
 * became of each is in the reports. An explicit choice never falls back to another one.
 */
export class KeyringResolution {
  /** Whether the user chose; then a failure is an error, not a reason to go on. */
  readonly explicit: boolean;
  readonly #all: readonly KeyringOpener[];
  readonly #candidates: readonly KeyringOpener[];
  readonly #choice: string;
  readonly #found = new Map<KeyringOpener, Promise<Found>>();
  readonly #settled = new Map<KeyringOpener, Found>();

  /**
   * @param options.choice `auto` (the default), `native`, `file`, `memory`, or the id of one keyring
   * @throws InvalidArgumentError when no candidate has that name
   */
  constructor(options: { openers: readonly KeyringOpener[]; choice?: string | undefined }) {
    this.#all = options.openers;
    this.#choice = options.choice ?? 'auto';
    this.explicit = this.#choice !== 'auto';
    this.#candidates = this.#all.filter(
      ({ id, tier }) => !this.explicit || id === this.#choice || tier === this.#choice,
    );
    if (this.#candidates.length === 0 && this.#choice !== 'native') {
      const elsewhere = (NATIVE_KEYRINGS as readonly string[]).includes(this.#choice);
      throw new InvalidArgumentError(
        elsewhere
          ? `The keyring ${this.#choice} is not available on this platform.`
          : `There is no keyring ${quote(this.#choice)}.`,
        { hint: `Choose one of: auto, native, ${this.#all.map(({ id }) => id).join(', ')}` },
      );
    }
  }

  /**
   * The keyrings that work, the strongest first.
   *
   * @throws KeyringAbsentError, KeyringLockedError, KeyringDeniedError, KeyringBrokenError when one was chosen and does
   *   not work
   */
  async *usable(): AsyncGenerator<UsableKeyring> {
    let any = false;
    for (const opener of this.#candidates) {
      await this.#resolve(opener);
      // Looked up anew: it may have failed in use since.
      const found = this.#settled.get(opener);
      if (found !== undefined && 'usable' in found) {
        any = true;
        yield found.usable;
      }
    }
    if (!any && this.explicit) throw this.#failureOfChoice();
  }

  /** A keyring that had probed usable failed in use. */
  passOver(id: string, error: HoldfastError): void {
    const opener = this.#candidates.find((candidate) => candidate.id === id);
    if (opener !== undefined) this.#settled.set(opener, { error });
  }

  /** What became of each candidate, in order. */
  reports(): readonly TierReport[] {
    return this.#all.map((opener) => {
      const { id, tier } = opener;
      const found = this.#settled.get(opener);
      if (found === undefined) {
        const reason = this.#candidates.includes(opener) ? undefined : `${this.#choice} was chosen`;
        return { id, tier, outcome: 'not-tried', ...(reason === undefined ? {} : { reason }) };
      }
      if ('usable' in found) {
        return { id, tier, outcome: 'usable', status: 'usable', lifetime: found.usable.lifetime };
      }
      const { message, hint } = found.error;
      const status = statusOf(found.error);
      return {
        id,
        tier,
        outcome: 'passed-over',
        status,
        reason: message,
        ...(hint === undefined ? {} : { hint }),
      };
    });
  }

  /** Why keyrings were passed over, the strongest first. */
  problems(): readonly HoldfastError[] {
    return this.#candidates.flatMap((opener) => {
      const found = this.#settled.get(opener);
      return found !== undefined && 'error' in found ? [found.error] : [];
    });
  }

  async close(): Promise<void> {
    for (const found of this.#settled.values()) {
      if ('usable' in found) await found.usable.keyring.close();
    }
  }

  async #resolve(opener: KeyringOpener): Promise<void> {
    let found = this.#found.get(opener);
    if (found === undefined) {
      found = tryOpener(opener);
      this.#found.set(opener, found);
      this.#settled.set(opener, await found);
    }
    await found;
  }

  #failureOfChoice(): HoldfastError {
    const [problem] = this.problems();
    if (problem !== undefined) return problem;
    return new KeyringAbsentError(`No ${this.#choice} keyring is available on this platform.`, {
      hint: 'Choose another one, such as --keyring file, or leave the choice to Holdfast: --keyring auto',
    });
  }
}

async function tryOpener(opener: KeyringOpener): Promise<Found> {
  try {
    const keyring = await opener.open();
    if (keyring === undefined) {
      return {
        error: new KeyringAbsentError(`The keyring ${opener.id} is not here.`, {
          hint: 'See: holdfast doctor',
        }),
      };
    }
    const probe = await keyring.probe();
    if (probe.status === 'usable') return { usable: { keyring, lifetime: probe.lifetime } };
    await keyring.close();
    return { error: errorOf(probe) };
  } catch (error) {
    if (error instanceof HoldfastError) return { error };
    return {
      error: new KeyringBrokenError(`The keyring ${opener.id} cannot be opened: ${quote(String(error))}.`, {
        cause: error,
      }),
    };
  }
}

function errorOf(probe: Exclude<KeyringProbe, { status: 'usable' }>): HoldfastError {
  const options = { hint: probe.hint };
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

function statusOf(error: HoldfastError): 'absent' | 'locked' | 'denied' | 'broken' {
  if (error instanceof KeyringAbsentError) return 'absent';
  if (error instanceof KeyringLockedError) return 'locked';
  return error instanceof KeyringDeniedError ? 'denied' : 'broken';
}
