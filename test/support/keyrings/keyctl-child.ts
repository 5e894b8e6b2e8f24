/**
 * Runs the kernel keyring in its own process, since its user and session decide what a process may read: `probe SCOPE`,
 * `get SCOPE NAME`, `set SCOPE NAME VALUE`, `delete SCOPE NAME`, `contract SCOPE`, `fill`. HOLDFAST_TEST_SERVICE
 * chooses the layout of 99designs/keyring.
 */
import { openKernelKeyring } from '../../../src/keyring/native/keyctl.ts';
import { KEYCTL_SCOPES } from '../../../src/keyring/native/keyctl-scope.ts';
import { KeyError, loadKernelKeyring, RING } from '../../../src/system/os/kernel-keyring.ts';
import { keyringContract } from '../../../src/testing/keyring-contract.ts';

const [command, scopeName = '', name = '', value = ''] = process.argv.slice(2);
const scope = KEYCTL_SCOPES.find((one) => one === scopeName) ?? 'user';
const say = (text: string) => process.stdout.write(`${text}\n`);
const open = () => openKernelKeyring(scope, { as99designs: process.env['HOLDFAST_TEST_SERVICE'] });

switch (command) {
  case 'probe':
    say(JSON.stringify(await (await open()).probe()));
    break;
  case 'get': {
    const found = await (await open()).get(name);
    say(found === undefined ? 'nothing' : Buffer.from(found).toString());
    break;
  }
  case 'set':
    await (await open()).set(name, Buffer.from(value));
    break;
  case 'delete':
    say(String(await (await open()).delete(name)));
    break;
  case 'contract': {
    const lasts = scope !== 'process';
    const contract = keyringContract(async () => ({
      keyring: await open(),
      ...(lasts ? { reopen: open } : {}),
      dispose: async () => {},
    }));
    for (const duty of contract) await duty.run();
    const probe = await (await open()).probe();
    say(`fulfilled, ${probe.status === 'usable' ? probe.lifetime : probe.status}`);
    break;
  }
  case 'fill': {
    // Adds as many keys as the user may have, probes, and removes them.
    const kernel = await loadKernelKeyring();
    const keys: number[] = [];
    try {
      for (let index = 0; index < 100_000; index += 1) {
        keys.push(kernel.add('user', `filling-${index}`, Buffer.from('x'), RING.user));
      }
    } catch (error) {
      if (!(error instanceof KeyError) || error.code !== 'EDQUOT') throw error;
    }
    say(JSON.stringify(await (await open()).probe()));
    for (const key of keys) kernel.unlink(key, RING.user);
    break;
  }
  default:
    throw new Error(`no command ${command}`);
}
