import { HoldfastError, InvalidArgumentError, KeyringAbsentError, KeyringBrokenError } from '../errors.ts';
import { quote } from '../quote.ts';
import type { Environment } from '../system/environment.ts';
import type { Layout } from '../system/paths.ts';
import { configuredKeyring } from './configured.ts';
import { KEYCTL_LIFETIMES, KEYCTL_SCOPES } from './keyctl-scope.ts';
import {
  type Keyring,
  type KeyringOpener,
  type Lifetime,
  lifetimeInWords,
  type TierReport,
} from './keyring.ts';
import { chosenByVariable, sharedOpeners, type WrappedPlace } from './shared-keyrings.ts';
import { errorOf, statusOf } from './verdict.ts';

/** A keyring of an operating system, and the platforms that have it. */
interface NativeKeyring extends Omit<KeyringOpener, 'tier' | 'open'> {
  readonly platforms: readonly NodeJS.Platform[];
  open(environment: Environment, sharing: Sharing): Promise<Keyring | undefined>;
}

/** With whom a keyring is shared. */
interface Sharing {
  /** The service of a program built on 99designs/keyring, whose layout then holds. */
  readonly as99designs?: string | undefined;
  /** Where the items lie that a KMS wraps. Otherwise in the directory of this machine. */
  readonly wrapped?: WrappedPlace | undefined;
}

/**
 * The keyrings of operating systems, the strongest first: adding one is its file and its entry here. The generic `file`
 * and `pass` backends that other keyring libraries list are left out on purpose: they open unconditionally, and would
 * hide that no keyring is there.
 */
const NATIVE: readonly NativeKeyring[] = [
  {
    id: 'wincred',
    platforms: ['win32'],
    open: async (environment, sharing) => (await import('./wincred.ts')).openWincred(environment, sharing),
  },
  {
    id: 'keychain',
    platforms: ['darwin'],
    open: async (environment, sharing) => (await import('./keychain.ts')).openKeychain(environment, sharing),
  },
  {
    id: 'secret-service',
    platforms: ['linux'],
    open: async (environment, sharing) =>
      (await import('./secret-service.ts')).openSecretService(environment, sharing),
  },
  {
    id: 'kwallet',
    platforms: ['linux'],
    servedBy: 'secret-service',
    open: async (environment, sharing) => (await import('./kwallet.ts')).openKWallet(environment, sharing),
  },
  ...KEYCTL_SCOPES.map(
    (scope): NativeKeyring => ({
      id: `keyctl:${scope}`,
      platforms: ['linux'],
      onlyWhenNamed: true,
      open: async () => (await import('./keyctl.ts')).openKernelKeyring(scope),
    }),
  ),
];

export const NATIVE_KEYRINGS: readonly string[] = NATIVE.map(({ id }) => id);

/** The candidates of this platform: its native keyrings, then the file, then memory; and those that are only used by name. */
export function defaultOpeners(
  environment: Environment,
  layout: Layout,
  sharing: Sharing = {},
): readonly KeyringOpener[] {
  const native = NATIVE.filter(({ platforms }) => platforms.includes(environment.platform));
  return [
    ...native.map(
      (keyring): KeyringOpener => ({
        ...keyring,
        tier: 'native',
        open: () => keyring.open(environment, sharing),
      }),
    ),
    {
      id: 'file',
      tier: 'file',
      open: async () => new (await import('./file.ts')).FileKeyring(layout, environment),
    },
    { id: 'memory', tier: 'memory', open: async () => new (await import('./memory.ts')).MemoryKeyring() },
    ...sharedOpeners(environment, layout, sharing.wrapped),
  ];
}

/**
 * The resolution as the user chose it: by the option, else by `HOLDFAST_KEYRING`, else by a variable that gives a sealing
 * key (`HOLDFAST_SEALING_KEY_FILE` and its like), else in `config.json`, else `auto`.
 *
 * @param options.wrapped where the items lie that a KMS wraps; in the directory of this machine otherwise
 * @throws InvalidArgumentError when no keyring has the name, or two of those variables are set; for the one in `config.json`
 *   not here but at first use
 */
export function resolveKeyrings(
  environment: Environment,
  layout: Layout,
  options: {
    keyring?: string | undefined;
    openers?: readonly KeyringOpener[] | undefined;
    wrapped?: WrappedPlace | undefined;
  } = {},
): KeyringResolution {
  const openers = options.openers ?? defaultOpeners(environment, layout, { wrapped: options.wrapped });
  const named = options.keyring ?? (environment.variables['HOLDFAST_KEYRING'] || undefined);
  return new KeyringResolution({
    openers,
    choice: named ?? chosenByVariable(environment, openers),
    configured: () => configuredKeyring(layout, environment),
  });
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
  readonly #all: readonly KeyringOpener[];
  readonly #configured: () => Promise<string | undefined>;
  readonly #found = new Map<KeyringOpener, Promise<Found>>();
  readonly #settled = new Map<KeyringOpener, Found>();
  #choice: string | undefined;
  #candidates: readonly KeyringOpener[] = [];

  /**
   * @param options.choice `auto`, `native`, `file`, `memory`, or the id of one keyring
   * @param options.configured asked once, and only where no choice was given; without an answer it is `auto`
   * @throws InvalidArgumentError when no candidate has that name
   */
  constructor(options: {
    openers: readonly KeyringOpener[];
    choice?: string | undefined;
    configured?: (() => Promise<string | undefined>) | undefined;
  }) {
    this.#all = options.openers;
    this.#configured = options.configured ?? (async () => undefined);
    if (options.choice !== undefined) this.#choose(options.choice);
  }

  /** What was chosen; `auto` when nothing was. Then a failure is an error, not a reason to go on. */
  async choice(): Promise<string> {
    if (this.#choice === undefined) {
      const configured = await this.#configured();
      this.#choose(configured ?? 'auto', configured === undefined ? '' : 'config.json: ');
    }
    return this.#choice ?? 'auto';
  }

  /** Whether the user chose. Known once a keyring was asked for, or `choice()`. */
  get explicit(): boolean {
    return this.#choice !== undefined && this.#choice !== 'auto';
  }

  /**
   * The keyrings that work, the strongest first.
   *
   * @throws KeyringAbsentError, KeyringLockedError, KeyringDeniedError, KeyringBrokenError when one was chosen and does
   *   not work
   */
  async *usable(): AsyncGenerator<UsableKeyring> {
    let any = false;
    await this.choice();
    for (const opener of this.#candidates) {
      if (this.#servedByStronger(opener)) continue;
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
    const shown = this.#all.filter(
      (opener) => opener.onlyWhenNamed !== true || this.#candidates.includes(opener),
    );
    return shown.map((opener) => {
      const { id, tier } = opener;
      const found = this.#settled.get(opener);
      if (found === undefined) {
        const reason = this.#whyNotTried(opener);
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
    for (const finding of this.#found.values()) {
      const found = await finding;
      if ('usable' in found) await found.usable.keyring.close();
    }
  }

  async #resolve(opener: KeyringOpener): Promise<void> {
    const known = this.#found.get(opener);
    if (known !== undefined) {
      const found = await known;
      // Passed over for a failure in use, it gets another try: the keyring itself knows how often to ask.
      if (opener.mayRecover === true && 'usable' in found) this.#settled.set(opener, found);
      return;
    }
    const finding = tryOpener(opener);
    this.#found.set(opener, finding);
    const found = await finding;
    this.#settled.set(opener, found);
    if (opener.mayRecover === true && 'error' in found) this.#found.delete(opener);
  }

  #choose(choice: string, from = ''): void {
    this.#candidates = this.#all.filter(({ id, tier, onlyWhenNamed }) =>
      onlyWhenNamed === true ? id === choice : ['auto', id, tier].includes(choice),
    );
    if (this.#candidates.length === 0 && choice !== 'native') throw unknownChoice(choice, this.#all, from);
    this.#choice = choice;
  }

  #servedByStronger({ servedBy }: KeyringOpener): boolean {
    const stronger = this.#candidates.find(({ id }) => id === servedBy);
    const found = stronger && this.#settled.get(stronger);
    return found !== undefined && 'usable' in found;
  }

  #whyNotTried(opener: KeyringOpener): string | undefined {
    if (!this.#candidates.includes(opener)) return this.explicit ? `${this.#choice} was chosen` : undefined;
    return this.#servedByStronger(opener)
      ? `${opener.servedBy} serves, and where both are they are one store`
      : undefined;
  }

  #failureOfChoice(): HoldfastError {
    const [problem] = this.problems();
    if (problem !== undefined) return problem;
    return new KeyringAbsentError(`No ${this.#choice} keyring is available on this platform.`, {
      hint: 'Choose another one, such as --keyring file, or leave the choice to Holdfast: --keyring auto',
    });
  }
}

function unknownChoice(
  choice: string,
  openers: readonly KeyringOpener[],
  from: string,
): InvalidArgumentError {
  if (choice === 'keyctl') {
    const scopes = KEYCTL_SCOPES.map(
      (scope) => `keyctl:${scope} (${lifetimeInWords(KEYCTL_LIFETIMES[scope])})`,
    );
    return new InvalidArgumentError(
      `${from}The kernel keyring is used only with a named scope, which decides how long it lasts.`,
      { hint: `Choose one of: ${scopes.join(', ')}` },
    );
  }
  return new InvalidArgumentError(
    NATIVE_KEYRINGS.includes(choice)
      ? `${from}The keyring ${choice} is not available on this platform.`
      : `${from}There is no keyring ${quote(choice)}.`,
    { hint: `Choose one of: auto, native, ${openers.map(({ id }) => id).join(', ')}` },
  );
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
