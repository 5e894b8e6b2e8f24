/** Adds one to a record through the directory store. The second argument says how many times. */
import { DirectoryStore } from '../../src/store/directory.ts';
import { processEnvironment } from '../../src/system/environment.ts';
import { layoutOf } from '../../src/system/files/paths.ts';

const [id, rounds] = process.argv.slice(2);
if (id === undefined || rounds === undefined) throw new Error('usage: counter ID ROUNDS');
const environment = processEnvironment();
const store = new DirectoryStore(layoutOf(environment), environment);
const address = { kid: 'key', id };
for (let done = 0; done < Number(rounds); ) {
  const found = await store.read(address);
  const result = await store.cas(address, found?.version, String(Number(found?.record ?? 0) + 1));
  if (result.outcome === 'ok') done += 1;
}
