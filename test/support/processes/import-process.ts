/**
 * Imports the logins of another program, from the home in the first argument, into the docker-agent directory in the
 * second. Dies when it reaches STEP for the COUNTth time. Arguments: HOME DIR PEER URL ISSUER STEP COUNT.
 */
import { subscribe } from 'node:diagnostics_channel';
import { findLogins, moveLogin } from '../../../src/import/move.ts';
import { sourceNamed } from '../../../src/import/sources.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { openVault } from '../../../src/vault/open.ts';

const [homeDirectory = '', dockerAgentDir = '', id = '', url = '', issuer = '', step, count] =
  process.argv.slice(2);
let passed = 0;
subscribe('holdfast:step', (message) => {
  if (JSON.stringify(message) !== JSON.stringify({ step })) return;
  passed += 1;
  if (passed === Number(count)) process.kill(process.pid, 'SIGKILL');
});
const environment = { ...processEnvironment(), homeDirectory };
const context = { environment, file: undefined, urls: [url], configured: async () => [] };
const source = sourceNamed(id);
const vault = openVault({ environment, keyring: 'file', store: 'docker-agent', dockerAgentDir });
for (const found of (await findLogins(source, context)).logins)
  await moveLogin(found, { source, context }, vault, { issuer });
await vault.close();
