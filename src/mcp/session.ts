import { CredentialId } from '../credential.ts';
import { LoginRequiredError } from '../errors.ts';
import type { LoginInteraction, LoginOptions } from '../login/types.ts';
import type { AccessToken } from '../tokens/access-token.ts';
import type { Vault } from '../vault/vault.ts';
import { type SharedLogin, sharedLogin } from './shared-login.ts';

/** Which login, and how to make one. */
export interface SessionOptions {
  readonly account?: string | undefined;
  /** How a person is reached when a login is needed. Without it nobody is asked anything, and no browser is opened. */
  readonly interaction?: LoginInteraction | undefined;
  /** How to log in. With a `grant` that needs no person, logins are made without an `interaction` too. */
  readonly login?: Omit<LoginOptions, 'account' | 'challenge' | 'interaction'> | undefined;
}

/** One login of a vault, as the requests to its server need it. */
export class Session {
  readonly name: CredentialId;
  /** What all callers in this process share. */
  readonly shared: SharedLogin;
  readonly #vault: Vault;
  readonly #options: SessionOptions;

  /** @throws InvalidArgumentError for a resource or account that cannot be one */
  constructor(vault: Vault, resource: string, options: SessionOptions) {
    this.name = CredentialId.of(resource, options.account);
    this.shared = sharedLogin(vault, this.name);
    this.#vault = vault;
    this.#options = options;
  }

  /** Whether a login may be made here, unasked. */
  get mayLogIn(): boolean {
    return this.#options.interaction !== undefined || this.#options.login?.grant !== undefined;
  }

  /**
   * The vault's token; nothing where there is none and one can be had by logging in.
   *
   * @param refused the generation that the server has just refused
   * @throws what `vault.token` throws
   */
  async token(signal: AbortSignal | undefined, refused?: number): Promise<AccessToken | undefined> {
    const { resource, account } = this.name;
    try {
      return await this.#vault.token(resource, { account, signal, rejectedGeneration: refused });
    } catch (error) {
      if (error instanceof LoginRequiredError && this.mayLogIn) return undefined;
      throw error;
    }
  }

  /**
   * One login for all who need one now. A caller whose signal ends leaves it to the others.
   *
   * @param challenge the `WWW-Authenticate` header that asks for it
   * @throws what `vault.login` throws
   */
  async logIn(challenge: string | undefined, signal: AbortSignal | undefined): Promise<AccessToken> {
    const { resource, account } = this.name;
    const { interaction, login } = this.#options;
    const running = this.shared.run(() =>
      this.#vault.login(resource, { ...login, account, interaction, challenge }),
    );
    await until(running, signal);
    return this.#vault.token(resource, { account, signal });
  }

  /** Waits for the login that is under way, if one is. */
  async settled(signal: AbortSignal | undefined): Promise<void> {
    await until(this.shared.running, signal);
  }
}

/** Waits for it, or for the end of the caller's patience. */
async function until(running: Promise<void> | undefined, signal: AbortSignal | undefined): Promise<void> {
  if (running === undefined || signal === undefined) return running;
  signal.throwIfAborted();
  let stop: () => void = () => {};
  const stopped = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    await Promise.race([running, stopped]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
