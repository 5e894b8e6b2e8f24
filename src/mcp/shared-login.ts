import type { CredentialId } from '../credential.ts';
import type { Vault } from '../vault/vault.ts';

/*
 * The state of one login that all callers in this process share: the current attempt, and the count of ineffective
 * logins. Twenty requests that are refused at once thus prompt the person once, and a server that refuses every token
 * does not cause endless prompts. MCP authorization, "Step-Up Authorization Flow", asks for a retry limit and a memory
 * of failed upgrades.
 */

/** Maximum number of step-ups for the same scopes of the same operation. */
const MOST_STEP_UPS = 2;

/** Maximum number of consecutive logins whose token was refused at once. */
const MOST_INEFFECTIVE = 2;

/** Maximum number of remembered scope sets, since a server may keep naming new scopes. */
const MOST_REMEMBERED = 1000;

export class SharedLogin {
  #running: Promise<void> | undefined;
  #ineffective = 0;
  readonly #stepUps = new Map<string, number>();

  /** Joins the current login, or starts this one. */
  run(login: () => Promise<unknown>): Promise<void> {
    if (this.#running === undefined) {
      this.#running = login()
        .then(() => {})
        .finally(() => {
          this.#running = undefined;
        });
      // All waiters may be gone before it fails; this prevents an unhandled rejection.
      this.#running.catch(() => {});
    }
    return this.#running;
  }

  /** The current login, if there is one. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  /** Records that the server refused the token of a new login. */
  wasIneffective(): void {
    this.#ineffective += 1;
  }

  /** Records that the server accepted a token. */
  wasEffective(): void {
    this.#ineffective = 0;
  }

  get isHopeless(): boolean {
    return this.#ineffective >= MOST_INEFFECTIVE;
  }

  /** Counts a step-up. Returns whether it is still allowed. */
  stepUp(operation: string, scopes: readonly string[]): boolean {
    const key = `${operation}\0${[...scopes].sort().join(' ')}`;
    const made = this.#stepUps.get(key) ?? 0;
    if (made >= MOST_STEP_UPS) return false;
    const [oldest] = this.#stepUps.keys();
    if (this.#stepUps.size >= MOST_REMEMBERED && oldest !== undefined) this.#stepUps.delete(oldest);
    this.#stepUps.set(key, made + 1);
    return true;
  }
}

const logins = new WeakMap<Vault, Map<string, SharedLogin>>();

/** The shared state of a login in a vault. */
export function sharedLogin(vault: Vault, { resource, account }: CredentialId): SharedLogin {
  const ofVault = logins.get(vault) ?? new Map<string, SharedLogin>();
  logins.set(vault, ofVault);
  const key = `${resource}\0${account}`;
  const shared = ofVault.get(key) ?? new SharedLogin();
  ofVault.set(key, shared);
  return shared;
}
