/**
 * Runs the keyring contract on the Keychain keyring over the real @napi-rs/keyring, which on Linux stores its items in
 * the session bus's Secret Service. Prints the duties that held, one per line.
 */
import { openKeychain } from '../../../src/keyring/native/keychain.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { keyringContract } from '../../../src/testing/keyring-contract.ts';
import { MacStandIn } from '../keyrings/keychain.ts';

const { system } = new MacStandIn();
const open = () => openKeychain({ ...processEnvironment(), platform: 'darwin' }, { system });
const contract = keyringContract(async () => ({
  keyring: await open(),
  reopen: open,
  dispose: async () => {},
}));
for (const { name, run } of contract) {
  await run();
  process.stdout.write(`${name}\n`);
}
