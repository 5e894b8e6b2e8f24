import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { temporaryHome } from '../support/homes/home.ts';
import { seededHome } from '../support/homes/seeded-home.ts';
import { NO_SECRET_SERVICE, privateBus } from '../support/keyrings/secret-service.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import { startServers } from '../support/servers/servers.ts';
import { SCRIPTED_BROWSER } from '../support/transcript.ts';

const SCRIPT = fileURLToPath(new URL('../support/homes/whole-life.ts', import.meta.url));

/** Runs the whole life of a vault, and checks that the process ends a few seconds after the vault was closed. */
async function endsByItself(
  args: readonly string[],
  variables: Readonly<Record<string, string>>,
): Promise<void> {
  const child = start(process.execPath, [...TYPESCRIPT, SCRIPT, ...args], variables);
  onTestFinished(() => child.kill('SIGKILL'));
  await child.says('closed after generation 1\n');
  const lingers = setTimeout(() => child.kill('SIGKILL'), 20_000);
  const { code } = await child.ended;
  clearTimeout(lingers);
  expect(code).toBe(0);
}

describe('a process that has closed its vault', () => {
  test('ends after using every function of a vault with the file keyring', async () => {
    const home = await seededHome();
    await endsByItself([home.resource], { HOLDFAST_HOME: home.path, HOLDFAST_KEYRING: 'file' });
  });

  test.skipIf(NO_SECRET_SERVICE)(
    'ends after using every function of a vault with the Secret Service',
    async () => {
      const home = await seededHome();
      const bus = await privateBus();
      await bus.keyring({ unlock: true });
      await endsByItself([home.resource], { ...bus.variables, HOLDFAST_HOME: home.path });
    },
  );

  test.each(['flock', 'lease-file'])(
    'ends after a login, a refresh and a logout at real servers, with %s',
    async (lock) => {
      const servers = await startServers();
      onTestFinished(() => servers.stop());
      const home = await temporaryHome();
      await endsByItself([servers.resource, SCRIPTED_BROWSER], {
        HOLDFAST_HOME: home.path,
        HOLDFAST_KEYRING: 'file',
        HOLDFAST_LOCK: lock,
      });
      const { codeGrants, refreshGrants, tokenErrors, revocations } = await servers.counters();
      expect({ codeGrants, refreshGrants, tokenErrors }).toEqual({
        codeGrants: 1,
        refreshGrants: 1,
        tokenErrors: 0,
      });
      expect(revocations).toBeGreaterThan(0);
    },
  );
});
