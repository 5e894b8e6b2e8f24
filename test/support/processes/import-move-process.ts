/**
 * Imports the login to URL from another program and dies at step `DIE_AT`. HOME is the user's home. Prints the number
 * of steps. Arguments: HOME PEER URL.
 */
import { subscribe } from 'node:diagnostics_channel';
import { findLogins, moveLogin } from '../../../src/import/move.ts';
import { sourceNamed } from '../../../src/import/sources.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { openVault } from '../../../src/vault/open.ts';

const [homeDirectory = '', id = '', url = ''] = process.argv.slice(2);
const dieAt = Number(process.env['DIE_AT']);
let steps = 0;
subscribe('holdfast:step', () => {
  steps += 1;
  if (steps === dieAt) process.kill(process.pid, 'SIGKILL');
});
const environment = { ...processEnvironment(), homeDirectory };
const context = { environment, file: undefined, urls: [url], configured: async () => [] };
const source = sourceNamed(id);
const vault = openVault({ environment, keyring: 'file' });
for (const found of (await findLogins(source, context)).logins) {
  await moveLogin(found, { source, context }, vault, {});
}
await vault.close();
process.stdout.write(JSON.stringify({ steps }));
