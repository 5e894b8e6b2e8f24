import { type HoldfastError, InvalidArgumentError, KeyringAbsentError } from '../errors.ts';
import { quote } from '../quote.ts';
import type { Environment } from '../system/environment.ts';
import type { Layout } from '../system/files/paths.ts';
import { Candidate, type UsableKeyring } from './candidate.ts';
import { configuredKeyring } from './configured.ts';
import { type Keyring, type KeyringOpener, LIFETIMES, lifetimeInWords, type TierReport } from './keyring.ts';
import { KEYCTL_LIFETIMES, KEYCTL_SCOPES } from './native/keyctl-scope.ts';
import { statusOf } from './probe-result.ts';
import { chosenByVariable, sharedOpeners, type WrappedItemsSource } from './provided/provided-keyrings.ts';

/** A keyring of an operating system, and its platforms. */
interface NativeKeyring extends Omit<KeyringOpener, 'tier' | 'open'> {
  readonly platforms: readonly NodeJS.Platform[];
  open(environment: Environment, sharing: Sharing): Promise<Keyring | undefined>;
}

/** The other users of a keyring. */
interface Sharing {
  /** The service of a program built on 99designs/keyring; its layout then applies. */
  readonly as99designs?: string | undefined;
  /** The source of items that a KMS wraps; by default this machine's directory. */
  readonly wrapped?: WrappedItemsSource | undefined;
}

/**
 * The keyrings of operating systems, the strongest first. To add one, add its file and its entry here. The generic
 * `file` and `pass` backends of other keyring libraries are left out on purpose: they always open, and would hide that
 * no keyring exists.
 */
const NATIVE: readonly NativeKeyring[] = [
  {
    id: 'wincred',
    platforms: ['win32'],
    open: async (environment, sharing) =>
      (await import('./native/wincred.ts')).openWincred(environment, sharing),
  },
  {
    id: 'keychain',
    platforms: ['darwin'],
    open: async (environment, sharing) =>
      (await import('./native/keychain.ts')).openKeychain(environment, sharing),
  },
  {
    id: 'secret-service',
    platforms: ['linux'],
    open: async (environment, sharing) =>
      (await import('./native/secret-service.ts')).openSecretService(environment, sharing),
  },
  {
    id: 'kwallet',
    platforms: ['linux'],
    servedBy: 'secret-service',
    open: async (environment, sharing) =>
      (await import('./native/kwallet.ts')).openKWallet(environment, sharing),
  },
  ...KEYCTL_SCOPES.map(
    (scope): NativeKeyring => ({
      id: `keyctl:${scope}`,
      platforms: ['linux'],
      onlyWhenNamed: true,
      open: async () => (await import('./native/keyctl.ts')).openKernelKeyring(scope),
    }),
  ),
];

export const NATIVE_KEYRINGS: readonly string[] = NATIVE.map(({ id }) => id);

/** The candidates of this platform: native keyrings, then file, then memory, then those used only by name. */
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
      open: async () => new (await import('./file/file.ts')).FileKeyring(layout, environment),
    },
    { id: 'memory', tier: 'memory', open: async () => new (await import('./memory.ts')).MemoryKeyring() },
    ...sharedOpeners(environment, sharing.wrapped),
  ];
}

/**
 * Makes the resolution that the user chose. The order: the option, `HOLDFAST_KEYRING`, a variable that gives a sealing
 * key (`HOLDFAST_SEALING_KEY_FILE` and its like), `config.json`, `auto`.
 *
 * @param options.wrapped the source of items that a KMS wraps; without it there is no `kms`
 * @throws InvalidArgumentError when no keyring has the name, or two of those variables are set; a bad name in
 *   `config.json` throws only at first use
 */
export function resolveKeyrings(
  environment: Environment,
  layout: Layout,
  options: {
    keyring?: string | undefined;
    openers?: readonly KeyringOpener[] | undefined;
    wrapped?: WrappedItemsSource | undefined;
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

/**
 * Selects the keyring (DESIGN section 4). Each candidate is opened and probed when its turn comes, and only once while
 * it works; the reports give the results. An explicit choice never falls back to another keyring.
 */
export class KeyringResolution {
  readonly #all: readonly Candidate[];
  readonly #configured: () => Promise<string | undefined>;
  #choice: string | undefined;
  #candidates: readonly Candidate[] = [];

  /**
   * @param options.choice `auto`, `native`, `file`, `memory`, or the id of one keyring
   * @param options.configured called once, and only without a choice; if it returns `undefined`, the choice is `auto`
   * @throws InvalidArgumentError when no candidate has that name
   */
  constructor(options: {
    openers: readonly KeyringOpener[];
    choice?: string | undefined;
    configured?: (() => Promise<string | undefined>) | undefined;
  }) {
    this.#all = options.openers.map((opener) => new Candidate(opener));
    this.#configured = options.configured ?? (async () => undefined);
    if (options.choice !== undefined) this.#choose(options.choice);
  }

  /** The choice; `auto` by default. With any other choice, a failure is an error and no other keyring is tried. */
  async choice(): Promise<string> {
    if (this.#choice === undefined) {
      const configured = await this.#configured();
      this.#choose(configured ?? 'auto', configured === undefined ? '' : 'config.json: ');
    }
    return this.#choice ?? 'auto';
  }

  /** Whether the user chose. Known only after a keyring was requested or `choice()` was called. */
  get explicit(): boolean {
    return this.#choice !== undefined && this.#choice !== 'auto';
  }

  /**
   * The working keyrings, the strongest first. Those that end with the session or the process follow those that last.
   *
   * @throws KeyringAbsentError, KeyringLockedError, KeyringDeniedError, KeyringBrokenError when the user chose a
   *   keyring and it does not work
   */
  async *usable(): AsyncGenerator<UsableKeyring> {
    let any = false;
    await this.choice();
    const ephemeral: UsableKeyring[] = [];
    for (const candidate of this.#candidates) {
      if (this.#servedByStronger(candidate)) continue;
      const found = await candidate.look();
      if (!('usable' in found)) continue;
      any = true;
      if (isEphemeral(found.usable)) ephemeral.push(found.usable);
      else yield found.usable;
    }
    yield* ephemeral.toSorted((a, b) => LIFETIMES.indexOf(a.lifetime) - LIFETIMES.indexOf(b.lifetime));
    if (!any && this.explicit) throw this.#failureOfChoice();
  }

  /** Records a read failure of a keyring whose probe had succeeded. It is retried later. */
  passOver(id: string, error: HoldfastError): void {
    this.#candidates.find(({ opener }) => opener.id === id)?.failed(error);
  }

  /** Records that a readable keyring rejected a write, such as on a full disk. Its existing items stay usable. */
  refusedSecret(id: string, error: HoldfastError): void {
    this.#candidates.find(({ opener }) => opener.id === id)?.refused(error);
  }

  /** Whether a write to a readable keyring is worth trying. */
  mayTakeSecrets(id: string): boolean {
    return this.#candidates.find(({ opener }) => opener.id === id)?.mayTakeSecrets !== false;
  }

  /** The result for each candidate, in order. */
  reports(): readonly TierReport[] {
    const shown = this.#all.filter(
      (candidate) => candidate.opener.onlyWhenNamed !== true || this.#candidates.includes(candidate),
    );
    return shown.map((candidate) => {
      const { id, tier } = candidate.opener;
      const { found } = candidate;
      if (found === undefined) {
        const reason = this.#whyNotTried(candidate);
        return { id, tier, outcome: 'not-tried', ...(reason === undefined ? {} : { reason }) };
      }
      const error = 'usable' in found ? candidate.refusal : found.error;
      if (error !== undefined) {
        const { message: reason, hint } = error;
        const status = statusOf(error);
        return { id, tier, outcome: 'passed-over', status, reason, ...(hint === undefined ? {} : { hint }) };
      }
      const { lifetime } = (found as { usable: UsableKeyring }).usable;
      if (tier !== 'native' || lifetime !== 'session' || !this.#hasPersistent()) {
        return { id, tier, outcome: 'usable', status: 'usable', lifetime };
      }
      const reason = `What it holds lasts ${lifetimeInWords(lifetime)}.`;
      const hint = `To use it all the same: --keyring ${id}`;
      return { id, tier, outcome: 'passed-over', status: 'usable', lifetime, reason, hint };
    });
  }

  /** Why keyrings were skipped, the strongest first. */
  problems(): readonly HoldfastError[] {
    return this.#candidates.flatMap(({ found, refusal }) => {
      if (found !== undefined && 'error' in found) return [found.error];
      return refusal === undefined ? [] : [refusal];
    });
  }

  async close(): Promise<void> {
    for (const candidate of this.#all) await candidate.close();
  }

  #choose(choice: string, from = ''): void {
    this.#candidates = this.#all.filter(({ opener: { id, tier, onlyWhenNamed } }) =>
      onlyWhenNamed === true ? id === choice : ['auto', id, tier].includes(choice),
    );
    if (this.#candidates.length === 0 && choice !== 'native') {
      throw unknownChoice(
        choice,
        this.#all.map(({ opener }) => opener),
        from,
      );
    }
    this.#choice = choice;
  }

  #servedByStronger({ opener: { servedBy } }: Candidate): boolean {
    const found = this.#candidates.find(({ opener }) => opener.id === servedBy)?.found;
    return found !== undefined && 'usable' in found;
  }

  #hasPersistent(): boolean {
    return this.#candidates.some(
      ({ found }) => found !== undefined && 'usable' in found && !isEphemeral(found.usable),
    );
  }

  #whyNotTried(candidate: Candidate): string | undefined {
    if (!this.#candidates.includes(candidate)) {
      return this.explicit ? `${this.#choice} was chosen` : undefined;
    }
    return this.#servedByStronger(candidate)
      ? `${candidate.opener.servedBy} serves, and where both are they are one store`
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

/** Whether a login sealed there would be lost while the machine still runs. */
function isEphemeral({ lifetime }: UsableKeyring): boolean {
  return lifetime === 'session' || lifetime === 'process';
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
