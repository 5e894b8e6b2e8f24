import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import { SealedCredentialStore } from '../../src/credentials/sealed/sealed-credential-store.ts';
import { migratable } from '../../src/doctor/store-status.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import { openPostgresStore } from '../../src/store/postgres/pool.ts';
import type { RecordStore } from '../../src/store/record-store.ts';
import { processEnvironment } from '../../src/system/environment.ts';
import { openVault } from '../../src/vault/open.ts';
import { openParts } from '../../src/vault/storage.ts';
import { NO_POSTGRES, type Postgres, startPostgres } from '../support/engines/postgres.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { scripted } from '../support/homes/vault.ts';
import { buildImage, type Image, NO_SANDBOX, place } from '../support/sandbox/sandbox.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/*
 * Sandboxes without a volume, a home or a keyring. Their root is read-only, and their environment has only the store's
 * URL and the file of the sealing key. One gets a token and is killed; the next one starts.
 */

const MISSING = NO_SANDBOX ?? NO_POSTGRES;
const ROUNDS = 24;
/** The access token expires before these rounds. */
const LAPSES = [8, 16];

let image: Image;
let servers: Servers;
let postgres: Postgres;
beforeAll(async () => {
  if (MISSING !== undefined) return;
  [image, servers, postgres] = await Promise.all([buildImage(), startServers(), startPostgres()]);
});
afterAll(() => Promise.all([image?.remove(), servers?.stop(), postgres?.dispose()]));

test.skipIf(MISSING)(
  `${ROUNDS} sandboxes, one after another, refresh once per token life in all`,
  async () => {
    const home = await temporaryHome();
    const keyFile = join(home.path, '..', 'sealing-key');
    await writeFile(keyFile, randomBytes(32).toString('base64url'), { mode: 0o600 });
    const environment = {
      ...processEnvironment(),
      variables: { HOLDFAST_HOME: home.path, HOLDFAST_SEALING_KEY_FILE: keyFile },
    };
    const store = openPostgresStore({ connectionString: postgres.url() });
    await (await migratable(store)).migrate();
    const vault = openVault({ environment, store });
    await vault.login(servers.resource, { interaction: scripted });
    const tokens = [(await vault.token(servers.resource)).token.reveal()];
    await vault.close();

    const outside = await place(image, [servers], [postgres.port]);
    const before = await servers.counters();
    for (let round = 0; round < ROUNDS; round += 1) {
      if (LAPSES.includes(round)) await lapse(environment);
      const sandbox = outside.startProgram(
        [
          'sh',
          '-c',
          `/node/bin/node /holdfast/holdfast.cjs token ${servers.resource} && echo done && exec sleep 1000`,
        ],
        {
          variables: {
            HOLDFAST_HOME: '',
            HOLDFAST_STORE: postgres.url(),
            HOLDFAST_SEALING_KEY_FILE: '/run/secrets/holdfast',
          },
          mounts: ['--ro-bind', keyFile, '/run/secrets/holdfast'],
        },
      );
      await sandbox.says('done\n');
      const token = sandbox.said().out.replace('done', '').trim();
      sandbox.kill('SIGKILL');
      await sandbox.ended;
      if (tokens.at(-1) !== token) tokens.push(token);
    }
    expect(new Set(tokens).size).toBe(1 + LAPSES.length);
    const after = await servers.counters();
    expect(after.refreshGrants - before.refreshGrants).toBe(LAPSES.length);
    expect(after.grantsRevoked - before.grantsRevoked).toBe(0);
  },
);

/** Ages the stored token past its end, as time would. */
async function lapse(environment: ReturnType<typeof processEnvironment>): Promise<void> {
  const store: RecordStore = openPostgresStore({ connectionString: postgres.url() });
  const { keys } = openParts({ store }, environment, (await temporaryHome()).layout);
  const credentialStore = new SealedCredentialStore({
    persistent: store,
    ephemeral: new MemoryStore(),
    keys,
  });
  try {
    const held = (await credentialStore.find(CredentialId.of(servers.resource, undefined)))?.held;
    if (held === undefined) throw new Error('The login is gone.');
    const { tokens } = held.credential;
    const { obtainedBoot: _boot, ...rest } = tokens;
    const obtainedAt = Date.now() - 7_200_000;
    const aged = { ...rest, obtainedAt, expiresAt: obtainedAt + 3_600_000 };
    await credentialStore.replace(held, { ...held.credential, tokens: aged });
  } finally {
    await credentialStore.close();
  }
}
