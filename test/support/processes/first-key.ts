/** Creates or finds the sealing key of the file keyring, and prints its kid. */
import { defaultOpeners, KeyringResolution } from '../../../src/keyring/resolve.ts';
import { SealingKeys } from '../../../src/keyring/sealing-key.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { layoutOf } from '../../../src/system/files/paths.ts';

const environment = processEnvironment();
const layout = layoutOf(environment);
const resolution = new KeyringResolution({ openers: defaultOpeners(environment, layout), choice: 'file' });
const { kid } = await new SealingKeys(resolution, layout, environment).strongest();
process.stdout.write(`${kid}\n`);
