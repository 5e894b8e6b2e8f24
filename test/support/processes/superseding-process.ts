/** Logs in again or out in HOLDFAST_HOME, and kills itself at the step with that number, if it gets that far. */
import { subscribe } from 'node:diagnostics_channel';
import { CredentialId } from '../../../src/credential.ts';
import { SealedCredentialStore } from '../../../src/credentials/sealed/sealed-credential-store.ts';
import { resolveKeyrings } from '../../../src/keyring/resolve.ts';
import { SealingKeys } from '../../../src/keyring/sealing-key.ts';
import { Secret } from '../../../src/secret.ts';
import { DirectoryStore } from '../../../src/store/directory.ts';
import { MemoryStore } from '../../../src/store/memory.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { layoutOf } from '../../../src/system/files/paths.ts';
import { openVault } from '../../../src/vault/open.ts';

const [what = '', dieAt = '0', resource = '', refreshToken = ''] = process.argv.slice(2);
let steps = 0;
const step = () => {
  steps += 1;
  if (steps === Number(dieAt)) process.kill(process.pid, 'SIGKILL');
};
subscribe('holdfast:step', step);
const environment = processEnvironment();
const layout = layoutOf(environment);
const lasting = new DirectoryStore(layout, environment);
// A removal is one system call, so the process dies before it or after it.
const remove = lasting.remove.bind(lasting);
lasting.remove = async (...given) => {
  step();
  const isGone = await remove(...given);
  step();
  return isGone;
};
if (what === 'logout') {
  const vault = openVault({ keyring: 'key-file', store: lasting });
  await vault.logout(resource);
  await vault.close();
} else {
  const keys = new SealingKeys(
    resolveKeyrings(environment, layout, { keyring: 'key-file' }),
    layout,
    environment,
  );
  const credentialStore = new SealedCredentialStore({
    persistent: lasting,
    ephemeral: new MemoryStore(),
    keys,
  });
  const id = CredentialId.of(resource, undefined);
  const now = Date.now();
  await credentialStore.save(await keys.strongest(), id, (generation) => ({
    resource: id.resource,
    account: id.account,
    resourceParameter: id.resource,
    generation,
    server: { issuer: 'https://as.example.com', tokenEndpoint: 'https://as.example.com/token' },
    client: { clientId: 'lab', authMethod: 'none', redirectUris: [], source: 'dynamic' },
    tokens: {
      accessToken: new Secret('second'),
      tokenType: 'Bearer',
      refreshToken: new Secret(refreshToken),
      obtainedAt: now,
      expiresAt: now + 3_600_000,
    },
    loggedInAt: now,
  }));
  await credentialStore.close();
}
process.stdout.write(JSON.stringify({ steps }));
