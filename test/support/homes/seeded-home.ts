import type { Credential } from '../../../src/credential.ts';
import { CredentialId } from '../../../src/credential.ts';
import { SealedCredentialStore } from '../../../src/credentials/sealed/sealed-credential-store.ts';
import { defaultOpeners, KeyringResolution } from '../../../src/keyring/resolve.ts';
import { SealingKeys } from '../../../src/keyring/sealing-key.ts';
import { Secret } from '../../../src/secret.ts';
import { DirectoryStore } from '../../../src/store/directory.ts';
import { MemoryStore } from '../../../src/store/memory.ts';
import { type Home, temporaryHome } from './home.ts';

export interface SeededHome extends Home {
  readonly resource: string;
  readonly token: string;
}

/** A home with one login, fresh for an hour, sealed under the file keyring. No server took part. */
export async function seededHome(resource = 'https://mcp.example.com/mcp'): Promise<SeededHome> {
  const home = await temporaryHome();
  const { layout, environment } = home;
  const openers = defaultOpeners(environment, layout);
  const keys = new SealingKeys(new KeyringResolution({ openers, choice: 'file' }), layout, environment);
  const lasting = new DirectoryStore(layout, environment);
  const credentialStore = new SealedCredentialStore({
    persistent: lasting,
    ephemeral: new MemoryStore(),
    keys,
  });
  const name = CredentialId.of(resource, undefined);
  const token = 'the-access-token';
  await credentialStore.save(await keys.strongest(), name, (generation): Credential => {
    const now = Date.now();
    return {
      resource: name.resource,
      account: name.account,
      resourceParameter: name.resource,
      generation,
      server: { issuer: 'https://as.example.com', tokenEndpoint: 'https://as.example.com/token' },
      client: {
        clientId: 'client',
        authMethod: 'none',
        redirectUris: ['http://127.0.0.1:1/callback'],
        source: 'dynamic',
      },
      tokens: {
        accessToken: new Secret(token),
        tokenType: 'Bearer',
        refreshToken: new Secret('the-refresh-token'),
        obtainedAt: now,
        expiresAt: now + 3_600_000,
      },
      grantedScope: 'tools:call',
      loggedInAt: now,
    };
  });
  await credentialStore.close();
  return { ...home, resource: name.resource, token };
}
