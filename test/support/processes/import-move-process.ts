/**
 * Imports the login to URL of a peer, HOME being the person's home, and dies at the step `DIE_AT` of it; says how many steps
 * there were. HOME PEER URL.
 */
import { subscribe } from 'node:diagnostics_channel';
import { findLogins, moveLogin } from '../../../src/import/move.ts';
import { peerNamed } from '../../../src/import/sources.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { openVault } from '../../../src/vault/vault.ts';

const [homeDirectory = '', id = '', url = ''] = process.argv.slice(2);
const dieAt = Number(process.env['DIE_AT']);
let steps = 0;
subscribe('holdfast:step', () => {
  steps += 1;
  if (steps === dieAt) process.kill(process.pid, 'SIGKILL');
});
const environment = { ...processEnvironment(), homeDirectory };
const context = { environment, file: undefined, urls: [url], configured: async () => [] };
const peer = peerNamed(id);
const vault = openVault({ environment, keyring: 'file' });
for (const found of (await findLogins(peer, context)).logins) {
  await moveLogin(found, { peer, context }, vault, {});
}
await vault.close();
process.stdout.write(JSON.stringify({ steps }));
