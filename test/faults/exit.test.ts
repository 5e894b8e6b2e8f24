import { describe, expect, test } from 'vitest';
import { runScript } from '../support/process.ts';
import { NO_SECRET_SERVICE, privateBus } from '../support/secret-service.ts';
import { seededHome } from '../support/seeded-home.ts';

describe('a process that closed its vault ends by itself', () => {
  test('after everything that a vault can do, with the file keyring', async () => {
    const home = await seededHome();
    const { out } = await runScript('whole-life.ts', [home.resource], {
      HOLDFAST_HOME: home.path,
      HOLDFAST_KEYRING: 'file',
    });
    expect(out).toBe('closed\n');
  });

  test.skipIf(NO_SECRET_SERVICE)('with the Secret Service open too', async () => {
    const home = await seededHome();
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const { out } = await runScript('whole-life.ts', [home.resource], {
      ...bus.variables,
      HOLDFAST_HOME: home.path,
    });
    expect(out).toBe('closed\n');
  });
});
