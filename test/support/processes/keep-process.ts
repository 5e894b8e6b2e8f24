/** Stores a credential for the resource in the first argument, as a login would, under the file keyring. */

import { CredentialId } from '../../../src/credential.ts';
import { SealedCredentialStore } from '../../../src/credentials/sealed/sealed-credential-store.ts';
import { defaultOpeners, KeyringResolution } from '../../../src/keyring/resolve.ts';
import { SealingKeys } from '../../../src/keyring/sealing-key.ts';
import { DirectoryStore } from '../../../src/store/directory.ts';
import { MemoryStore } from '../../../src/store/memory.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { layoutOf } from '../../../src/system/files/paths.ts';
import { sampleCredential } from '../homes/credential.ts';

const [resource = ''] = process.argv.slice(2);
const environment = processEnvironment();
const layout = layoutOf(environment);
const resolution = new KeyringResolution({ openers: defaultOpeners(environment, layout), choice: 'file' });
const keys = new SealingKeys(resolution, layout, environment);
const lasting = new DirectoryStore(layout, environment);
const credentialStore = new SealedCredentialStore({
  persistent: lasting,
  ephemeral: new MemoryStore(),
  keys,
});
await credentialStore.save(await keys.strongest(), CredentialId.of(resource, undefined), (generation) =>
  sampleCredential(resource, { generation }),
);
