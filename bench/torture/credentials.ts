import type { Credential } from '../../src/credential.ts';
import { CredentialId } from '../../src/credential.ts';
import { SealedCredentialStore } from '../../src/credentials/sealed-credential-store.ts';
import { resolveKeyrings } from '../../src/keyring/open.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { Secret } from '../../src/secret.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import type { Store } from '../../src/store/store.ts';
import { type Environment, processEnvironment } from '../../src/system/environment.ts';
import { layoutOf } from '../../src/system/paths.ts';

/** What is stored of one credential. */
export interface Stored {
  readonly generation: number;
  readonly refreshToken: string;
  readonly loginRequired: boolean;
}

/** The stored credentials as the harness sees them: it puts logins there without a browser, and looks at what became of them. */
export class Credentials {
  readonly #custody: SealedCredentialStore;
  readonly #keys: SealingKeys;
  readonly environment: Environment;

  /** @param store the directory in `home` where there is none */
  constructor(home: string, keyFile: string, store: Store | undefined) {
    const variables = { HOLDFAST_HOME: home, HOLDFAST_SEALING_KEY_FILE: keyFile, HOME: '/nonexistent' };
    this.environment = { ...processEnvironment(), variables };
    const layout = layoutOf(this.environment);
    this.#keys = new SealingKeys(
      resolveKeyrings(this.environment, layout, { keyring: 'key-file' }),
      layout,
      this.environment,
    );
    const lasting = store ?? new DirectoryStore(layout, this.environment);
    this.#custody = new SealedCredentialStore({ lasting, passing: new MemoryStore(), keys: this.#keys });
  }

  /** Keeps a login whose access token lapsed a second ago. */
  async put(resource: string, tokenEndpoint: string, clientId: string, refreshToken: string): Promise<void> {
    const name = CredentialId.of(resource, undefined);
    const now = Date.now();
    const key = await this.#keys.strongest();
    await this.#custody.save(
      key,
      name,
      (generation): Credential => ({
        resource: name.resource,
        account: name.account,
        resourceParameter: name.resource,
        generation,
        server: { issuer: 'https://as.example.com', tokenEndpoint },
        client: { clientId, authMethod: 'none', redirectUris: [], source: 'dynamic' },
        tokens: {
          accessToken: new Secret('of the login itself'),
          tokenType: 'Bearer',
          refreshToken: new Secret(refreshToken),
          obtainedAt: now - 2000,
          expiresAt: now - 1000,
        },
        loggedInAt: now,
      }),
    );
  }

  async stored(resource: string): Promise<Stored | undefined> {
    const found = await this.#custody.find(CredentialId.of(resource, undefined));
    if (found === undefined) return undefined;
    const { generation, tokens, loginRequired } = found.held.credential;
    return {
      generation,
      refreshToken: tokens.refreshToken?.reveal() ?? '',
      loginRequired: loginRequired !== undefined,
    };
  }

  close(): Promise<void> {
    return this.#custody.close();
  }
}
