/**
 * A process that logs in for the first time: the argument is the server, where to keep it is in the environment. It says
 * `ready`, waits for a line, logs in, and ends.
 */
import { openVault } from '../../src/vault/open.ts';
import { browse } from '../../test/support/browser/scripted-browser.mjs';

const [resource = ''] = process.argv.slice(2);
process.stdout.write('ready\n');
process.stdin.once('data', () => {
  process.stdin.destroy();
  logIn().catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exitCode = 1;
  });
});

async function logIn(): Promise<void> {
  const vault = openVault();
  try {
    await vault.login(resource, {
      requirePersistence: true,
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
}
