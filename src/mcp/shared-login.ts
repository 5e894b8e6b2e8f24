import type { CredentialId } from '../credential.ts';
import type { Vault } from '../vault/vault.ts';

/*
 * What all callers in this process share about one login: the one that a person is at now, and which ones were of no use.
 * So twenty requests that are refused at once ask the person once, and a server that is never content does not ask for ever
 * (MCP authorization, "Step-Up Authorization Flow": a retry limit, and a memory of failed upgrades).
 */

/** So often for the same scopes of the same operation. */
const MOST_STEP_UPS = 2;

/** So many logins in a row whose token was refused at once. */
const MOST_FRUITLESS = 2;

/** A server may name ever new scopes; so many sets are remembered. */
const MOST_REMEMBERED = 1000;

export class SharedLogin {
  #running: Promise<void> | undefined;
  #fruitless = 0;
  readonly #stepUps = new Map<string, number>();

  /** Joins the login that is under way, or starts this one. */
  run(login: () => Promise<unknown>): Promise<void> {
    if (this.#running === undefined) {
      this.#running = login()
        .then(() => {})
        .finally(() => {
          this.#running = undefined;
        });
      // All who wait for it may have gone before it fails.
      this.#running.catch(() => {});
    }
    return this.#running;
  }

  /** The login that is under way, if one is. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  /** The token of a login that was just made was refused. */
  wasFruitless(): void {
    this.#fruitless += 1;
  }

  /** A token was taken. */
  wasFruitful(): void {
    this.#fruitless = 0;
  }

  get isHopeless(): boolean {
    return this.#fruitless >= MOST_FRUITLESS;
  }

  /** Counts a step-up; whether it may still be made. */
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

/** The one for that name in that vault. */
export function sharedLogin(vault: Vault, { resource, account }: CredentialId): SharedLogin {
  const ofVault = logins.get(vault) ?? new Map<string, SharedLogin>();
  logins.set(vault, ofVault);
  const key = `${resource}\0${account}`;
  const shared = ofVault.get(key) ?? new SharedLogin();
  ofVault.set(key, shared);
  return shared;
}
