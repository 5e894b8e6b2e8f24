/**
 * Uses every function of a vault, closes it, and says so. The process must then end without help. With a browser as the
 * second argument it logs in first and out at the end.
 */
import { spawn } from 'node:child_process';
import { openVault } from '../../../src/index.ts';

const [resource = '', browser] = process.argv.slice(2);
const vault = openVault();
if (browser !== undefined) {
  await vault.login(resource, {
    interaction: {
      authorize: async (url) => {
        spawn(process.execPath, [browser, url], { stdio: 'ignore' }).unref();
      },
    },
  });
}
const { generation } = await vault.token(resource);
await vault.headers(resource);
// The server of a seeded login does not exist; that of a real login answers.
await vault.token(resource, { rejectedGeneration: generation, timeoutMs: 500 }).catch(() => {});
await vault.token(resource, { timeoutMs: 500, signal: AbortSignal.timeout(60_000) }).catch(() => {});
await vault.list();
vault.admin.tiers();
await vault.admin.rekey();
await vault.token(resource).catch(() => {});
await vault.logout('https://mcp.example.com/not-logged-in');
if (browser !== undefined) await vault.logout(resource);
await vault.close();
process.stdout.write(`closed after generation ${generation}\n`);
