import { setTimeout as sleep } from 'node:timers/promises';
import { CredentialId } from '../../src/credential.ts';
import type { StoredCredential } from '../../src/credentials/credential-store.ts';
import { SealedCredentialStore } from '../../src/credentials/sealed/sealed-credential-store.ts';
import { defaultOpeners, KeyringResolution } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import { type Environment, processEnvironment } from '../../src/system/environment.ts';
import { layoutOf } from '../../src/system/files/paths.ts';
import { openVault } from '../../src/vault/open.ts';
import { browse } from '../../test/support/browser/scripted-browser.mjs';
import { accepted } from './barrier.ts';

/** A login in a home of its own, made at the real servers by the scripted browser. */
export class Login {
  readonly resource: string;
  /** What a process needs in its environment to find it. */
  readonly variables: Readonly<Record<string, string>>;
  readonly #environment: Environment;
  readonly #custody: SealedCredentialStore;

  private constructor(resource: string, keyring: string, variables: Readonly<Record<string, string>>) {
    this.resource = resource;
    this.variables = variables;
    this.#environment = { ...processEnvironment(), variables };
    const layout = layoutOf(this.#environment);
    const openers = defaultOpeners(this.#environment, layout);
    const resolution = new KeyringResolution({ openers, choice: keyring });
    const keys = new SealingKeys(resolution, layout, this.#environment);
    const lasting = new DirectoryStore(layout, this.#environment);
    this.#custody = new SealedCredentialStore({ persistent: lasting, ephemeral: new MemoryStore(), keys });
  }

  /**
   * @param home where it is kept
   * @param variables what a process needs in its environment besides, such as the desktop session
   */
  static async make(
    resource: string,
    home: string,
    keyring: string,
    variables: Readonly<Record<string, string>> = {},
  ): Promise<Login> {
    const login = new Login(resource, keyring, {
      HOME: '/nonexistent',
      ...variables,
      HOLDFAST_HOME: home,
      HOLDFAST_KEYRING: keyring,
    });
    const vault = openVault({ environment: login.#environment });
    try {
      await vault.login(resource, {
        interaction: {
          authorize: async (url) => {
            browse(url).catch(() => {
              // The login ends by itself when its browser does not come back.
            });
          },
        },
      });
    } finally {
      await vault.close();
    }
    return login;
  }

  /** Waits until the access token has lapsed, by what the server said of it and by what it does. */
  async lapsed(): Promise<void> {
    const { accessToken, expiresAt = 0 } = (await this.#held()).credential.tokens;
    await sleep(Math.max(0, expiresAt - Date.now()));
    while (await accepted(this.resource, accessToken.reveal())) await sleep(100);
  }

  /** Says, under the lease, that the access token lapsed a second ago. The refresh token stays the living one. */
  async expire(): Promise<void> {
    const lease = this.#custody.lease(await this.#held());
    try {
      const held = await lease.begin({ waitMs: 10_000 });
      if (held === undefined) throw new Error('The login is gone.');
      const now = Date.now();
      const tokens = {
        ...held.credential.tokens,
        obtainedAt: now - 3_601_000,
        // By the wall clock alone: the kernel's would know better.
        obtainedBoot: undefined,
        expiresAt: now - 1_000,
      };
      const written = await lease.replace(held, { ...held.credential, tokens });
      if (typeof written === 'string') throw new Error('Someone changed the record under our lease.');
    } finally {
      await lease.release();
    }
  }

  /** Refreshes, if that is due, in a vault of its own. */
  async refresh(): Promise<void> {
    const vault = openVault({ environment: this.#environment });
    try {
      await vault.token(this.resource);
    } finally {
      await vault.close();
    }
  }

  close(): Promise<void> {
    return this.#custody.close();
  }

  async #held(): Promise<StoredCredential> {
    const found = await this.#custody.find(CredentialId.of(this.resource, undefined));
    if (found === undefined) throw new Error('The login is gone.');
    return found.held;
  }
}
