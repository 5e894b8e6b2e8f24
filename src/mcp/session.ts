import { CredentialId } from '../credential.ts';
import { LoginRequiredError } from '../errors.ts';
import type { AccessToken } from '../tokens/access-token.ts';
import { defined } from '../values/defined.ts';
import type { Vault } from '../vault/vault.ts';
import type { SessionOptions } from './options.ts';
import { type SharedLogin, sharedLogin } from './shared-login.ts';

/** One login of a vault, with the methods that requests to its server need. */
export class Session {
  readonly id: CredentialId;
  /** The state that all callers in this process share. */
  readonly shared: SharedLogin;
  readonly #vault: Vault;
  readonly #options: SessionOptions;

  /** @throws InvalidArgumentError for an invalid resource or account */
  constructor(vault: Vault, resource: string, options: SessionOptions) {
    this.id = CredentialId.of(resource, options.account);
    this.shared = sharedLogin(vault, this.id);
    this.#vault = vault;
    this.#options = options;
  }

  /** Whether a login may start here without asking. */
  get mayLogIn(): boolean {
    return this.#options.interaction !== undefined || this.#options.login?.grant !== undefined;
  }

  /**
   * Gets the vault's token; `undefined` when none exists and a login can get one.
   *
   * @param refused the generation that the server has just refused
   * @throws the errors of `vault.token`
   */
  async token(signal: AbortSignal | undefined, refused?: number): Promise<AccessToken | undefined> {
    const { resource, account } = this.id;
    try {
      return await this.#vault.token(resource, defined({ account, signal, rejectedGeneration: refused }));
    } catch (error) {
      if (error instanceof LoginRequiredError && this.mayLogIn) return undefined;
      throw error;
    }
  }

  /**
   * Makes one login for all callers that need one now. A caller whose signal aborts leaves the login to the others.
   *
   * @param challenge the `WWW-Authenticate` header that asks for it
   * @throws the errors of `vault.login`
   */
  async logIn(challenge: string | undefined, signal: AbortSignal | undefined): Promise<AccessToken> {
    const { resource, account } = this.id;
    const { interaction, login } = this.#options;
    const running = this.shared.run(() =>
      this.#vault.login(resource, defined({ ...login, account, interaction, challenge })),
    );
    await until(running, signal);
    return this.#vault.token(resource, defined({ account, signal }));
  }

  /** Waits for the current login, if there is one. */
  async settled(signal: AbortSignal | undefined): Promise<void> {
    await until(this.shared.running, signal);
  }
}

/** Waits for the login, or until the caller's signal aborts. */
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
