/**
 * `npm run bench:docker-agent`: what one update of one login costs in docker-agent's store, whose bundle is written anew
 * each time, with few entries and with many; beside a bare write, fsync, rename and directory fsync of the same bytes, in
 * turns, and reading it by a process that has nothing in memory. Needs no server.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CredentialId } from '../src/credential.ts';
import { entryOf } from '../src/docker-agent/entry.ts';
import { Secret } from '../src/secret.ts';
import { processEnvironment } from '../src/system/environment.ts';
import { sampleCredential } from '../test/support/homes/credential.ts';
import { dockerAgentParts, writeBundle } from '../test/support/homes/docker-agent.ts';

const ROUNDS = Number(process.argv[2] ?? 30);
const ENTRIES = [10, 500, 5_000];

/** As long as the JWTs of large servers, so that 5,000 entries have some 10 MB. */
const TOKEN = 'x'.repeat(1_500);

const environment = { ...processEnvironment(), variables: {} };
const place = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
try {
  console.log(`Node ${process.version}, ${ROUNDS} rounds in turns, median milliseconds:`);
  for (const entries of ENTRIES) await measure(join(place, `entries-${entries}`), entries);
} finally {
  rmSync(place, { recursive: true, force: true });
}

async function measure(directory: string, entries: number): Promise<void> {
  await mkdir(directory, { mode: 0o700 });
  const resource = (index: number) => `https://server-${index}.example/mcp`;
  const bundle = new Map(
    Array.from(
      { length: entries },
      (_, index) => [resource(index), entryOf(credential(index, 1), {})] as const,
    ),
  );
  await writeBundle(directory, environment, bundle);
  const { credentialStore, files } = dockerAgentParts(directory, environment);
  const name = CredentialId.of(resource(0), undefined);
  const updates: number[] = [];
  const bare: number[] = [];
  const reads: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const found = await credentialStore.find(name);
    if (found === undefined) throw new Error('The login is not there.');
    updates.push(await timed(() => credentialStore.replace(found.held, credential(0, round + 2))));
    const { size } = statSync(files.bundle);
    bare.push(await timed(() => writeBare(directory, Buffer.alloc(size, 1))));
    reads.push(await timed(() => dockerAgentParts(directory, environment).credentialStore.find(name)));
  }
  const megabytes = (statSync(files.bundle).size / 1024 / 1024).toFixed(2);
  console.log(
    `${String(entries).padStart(6)} entries, ${megabytes.padStart(6)} MiB: update ${median(updates)}, bare write ${median(bare)}, first read ${median(reads)}`,
  );

  function credential(index: number, generation: number) {
    const sample = sampleCredential(resource(index), { generation });
    const accessToken = new Secret(`${TOKEN}${index}.${generation}`);
    return { ...sample, tokens: { ...sample.tokens, accessToken } };
  }
}

async function writeBare(directory: string, bytes: Buffer): Promise<void> {
  const staged = join(directory, 'bare.new');
  const file = await open(staged, 'w', 0o600);
  await file.writeFile(bytes);
  await file.sync();
  await file.close();
  await rename(staged, join(directory, 'bare'));
  const parent = await open(directory, 'r');
  await parent.sync();
  await parent.close();
}

async function timed(step: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await step();
  return performance.now() - begin;
}

function median(times: readonly number[]): string {
  return ([...times].sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN).toFixed(1);
}
