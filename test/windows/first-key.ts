/** Creates or finds the sealing key of the strongest keyring, and prints that keyring's id and the key's kid. */
import { resolveKeyrings } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { processEnvironment } from '../../src/system/environment.ts';
import { layoutOf } from '../../src/system/files/paths.ts';

const environment = processEnvironment();
const layout = layoutOf(environment);
const keys = new SealingKeys(resolveKeyrings(environment, layout), layout, environment);
const { keyringId, kid } = await keys.strongest();
process.stdout.write(`${keyringId} ${kid}\n`);
