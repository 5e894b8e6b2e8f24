import type { Credential } from '../../src/credential.ts';
import { CredentialId } from '../../src/credential.ts';
import { MOVED } from '../../src/credentials/login-required.ts';
import { SealedCredentialStore } from '../../src/credentials/sealed/sealed-credential-store.ts';
import { resolveKeyrings } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { Secret } from '../../src/secret.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import type { RecordStore } from '../../src/store/record-store.ts';
import { type Environment, processEnvironment } from '../../src/system/environment.ts';
import { layoutOf } from '../../src/system/files/paths.ts';

const DAY_MS = 86_400_000;

/** What is stored of one credential. */
export interface Stored {
  readonly generation: number;
  readonly refreshToken: string;
  readonly loginRequired: boolean;
  /** It was exported from here. */
  readonly isMoved?: boolean | undefined;
  /** Which login it is, in milliseconds since the epoch. */
  readonly loggedInAt?: number | undefined;
}

/** A login as the harness puts it there. */
export interface NewLogin {
  readonly tokenEndpoint: string;
  readonly revocationEndpoint: string;
  readonly clientId: string;
  readonly refreshToken: string;
  readonly loggedInAt: number;
}

/** The stored credentials as the harness sees them: it puts logins there without a browser, and looks at what became of them. */
export class Credentials {
  readonly #custody: SealedCredentialStore;
  readonly #keys: SealingKeys;
  readonly environment: Environment;

  /** @param store the directory in `home` where there is none */
  constructor(home: string, keyFile: string, store: RecordStore | undefined) {
    const variables = { HOLDFAST_HOME: home, HOLDFAST_SEALING_KEY_FILE: keyFile, HOME: '/nonexistent' };
    this.environment = { ...processEnvironment(), variables };
    const layout = layoutOf(this.environment);
    this.#keys = new SealingKeys(
      resolveKeyrings(this.environment, layout, { keyring: 'key-file' }),
      layout,
      this.environment,
    );
    const lasting = store ?? new DirectoryStore(layout, this.environment);
    this.#custody = new SealedCredentialStore({
      persistent: lasting,
      ephemeral: new MemoryStore(),
      keys: this.#keys,
    });
  }

  /** Stores a login whose access token expired long ago by any clock, in place of what is there. */
  async put(resource: string, login: NewLogin): Promise<void> {
    const name = CredentialId.of(resource, undefined);
    const now = Date.now();
    const { tokenEndpoint, revocationEndpoint, clientId, refreshToken, loggedInAt } = login;
    const key = await this.#keys.strongest();
    await this.#custody.save(
      key,
      name,
      (generation): Credential => ({
        resource: name.resource,
        account: name.account,
        resourceParameter: name.resource,
        generation,
        server: { issuer: 'https://as.example.com', tokenEndpoint, revocationEndpoint, reach: 'anywhere' },
        client: { clientId, authMethod: 'none', redirectUris: [], source: 'dynamic' },
        tokens: {
          accessToken: new Secret('of.the.login.itself'),
          tokenType: 'Bearer',
          refreshToken: new Secret(refreshToken),
          obtainedAt: now - DAY_MS,
          expiresAt: now - DAY_MS + 1000,
        },
        loggedInAt,
      }),
    );
  }

  async stored(resource: string): Promise<Stored | undefined> {
    const found = await this.#custody.find(CredentialId.of(resource, undefined));
    if (found === undefined) return undefined;
    const { generation, tokens, loginRequired, loggedInAt } = found.held.credential;
    return {
      generation,
      refreshToken: tokens.refreshToken?.reveal() ?? '',
      loginRequired: loginRequired !== undefined,
      isMoved: loginRequired?.error === MOVED,
      loggedInAt,
    };
  }

  close(): Promise<void> {
    return this.#custody.close();
  }
}
