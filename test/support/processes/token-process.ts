/**
 * Asks a vault for a token of the resource in the first argument, once the file in the second exists, if given. Prints
 * `{ generation, fingerprint }`, never the token, or `{ code }` of the error.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../../../src/errors.ts';
import { openVault } from '../../../src/vault/open.ts';

const [resource = '', go] = process.argv.slice(2);
const vault = openVault({ keyring: process.env['HOLDFAST_KEYRING'] ?? 'file' });
process.stderr.write('ready\n');
while (go !== undefined && !existsSync(go)) await sleep(5);
try {
  const { token, generation } = await vault.token(resource);
  const fingerprint = createHash('sha256').update(token.reveal()).digest('hex').slice(0, 16);
  process.stdout.write(JSON.stringify({ generation, fingerprint }));
} catch (error) {
  if (!(error instanceof HoldfastError)) throw error;
  process.stdout.write(JSON.stringify({ code: error.code }));
}
await vault.close();
