import { execFile, spawnSync } from 'node:child_process';
import { chmod, copyFile, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { OutboxFiles } from '../../../src/credentials/outbox/outbox-files.ts';
import { SealedCredentialStore } from '../../../src/credentials/sealed/sealed-credential-store.ts';
import { type Bundle, openBundle, sealBundle } from '../../../src/docker-agent/bundle.ts';
import { DockerAgentStore } from '../../../src/docker-agent/docker-agent-store.ts';
import { hasBundle, underLock } from '../../../src/docker-agent/files.ts';
import { dockerAgentOpeners } from '../../../src/docker-agent/key.ts';
import { DockerAgentRecords } from '../../../src/docker-agent/records.ts';
import { KeyringResolution } from '../../../src/keyring/resolve.ts';
import { SealingKeys } from '../../../src/keyring/sealing-key.ts';
import { MemoryStore } from '../../../src/store/memory.ts';
import type { Environment } from '../../../src/system/environment.ts';
import { writeFileAtomically } from '../../../src/system/files/atomic-file.ts';
import { readGivenFile } from '../../../src/system/files/given-file.ts';
import { dockerAgentLayoutOf } from '../../../src/system/files/paths.ts';
import { requirement } from '../requirement.ts';

const FIXTURE = fileURLToPath(new URL('../../fixtures/docker-agent', import.meta.url));
const WITNESS = fileURLToPath(new URL('../../interop/witness.go', import.meta.url));

/** Variables by which Go finds Debian's libraries. */
const GO = {
  ...process.env,
  GO111MODULE: 'off',
  GOPATH: '/usr/share/gocode',
};

export const NO_WITNESS = requirement(
  'golang and golang-github-dvsekhvalnov-jose2go-dev are not installed',
  spawnSync('go', ['list', 'github.com/dvsekhvalnov/jose2go'], { env: GO, stdio: 'ignore' }).status === 0,
);

/**
 * Time limit for a test or hook that builds the witness, in milliseconds. The first time, Go compiles its own library
 * too.
 */
export const BUILD_MS = 300_000;

/** Builds the witness in that directory. @returns its path */
export async function buildWitness(directory: string): Promise<string> {
  const program = join(directory, 'witness');
  await promisify(execFile)('go', ['build', '-o', program, WITNESS], { env: GO });
  return program;
}

/** Runs one operation of the witness. @throws its error text when it fails */
export function witness(program: string, directory: string, ...args: readonly string[]): string {
  return witnessWith(undefined, program, directory, ...args);
}

/** Runs the witness with docker-agent's key from a desktop keyring: `item`, as that keyring stores it. */
export function witnessWith(
  item: string | undefined,
  program: string,
  directory: string,
  ...args: readonly string[]
): string {
  const env = item === undefined ? {} : { WITNESS_ITEM: item };
  const { status, stdout, stderr } = spawnSync(program, [directory, ...args], { encoding: 'utf8', env });
  if (status !== 0) throw new Error(stderr.trim());
  return stdout.trim();
}

/** Writes a docker-agent directory with three logins, as docker-agent itself left it. */
export async function fixtureAt(directory: string): Promise<void> {
  const keyring = join(directory, 'mcp-oauth-keyring');
  await mkdir(keyring, { recursive: true, mode: 0o700 });
  const files: Readonly<Record<string, string>> = {
    'mcp-oauth-tokens.enc': join(directory, 'mcp-oauth-tokens.enc'),
    passphrase: join(keyring, 'passphrase'),
    // Git on Windows cannot check out a name with a colon.
    'encryption-key': join(keyring, 'oauth:encryption-key'),
  };
  for (const [from, to] of Object.entries(files)) {
    await copyFile(join(FIXTURE, from), to);
    await chmod(to, 0o600);
  }
}

/** New parts of a vault over that docker-agent directory and its file keyring. */
export function dockerAgentParts(
  directory: string,
  environment: Environment,
  outbox?: OutboxFiles,
  lockWaitMs?: number,
) {
  const files = dockerAgentLayoutOf(environment, directory);
  const openers = dockerAgentOpeners(environment, files.layout, {
    isSealed: () => hasBundle(files),
    locked: (step) => underLock(files, environment, step),
  });
  const resolution = new KeyringResolution({ openers, choice: 'file' });
  const keys = new SealingKeys(resolution, files.layout, environment);
  const store = new DockerAgentStore({ files, environment, keys, resolution, lockWaitMs });
  return {
    files,
    keys,
    store,
    credentialStore: new SealedCredentialStore({
      persistent: new DockerAgentRecords(store),
      ephemeral: new MemoryStore(),
      files: outbox,
      keys,
    }),
  };
}

/** Reads docker-agent's token file. */
export async function bundleAt(directory: string, environment: Environment): Promise<Bundle> {
  const { files, keys } = dockerAgentParts(directory, environment);
  const key = await keys.strongest();
  const bytes = await readGivenFile(files.bundle, { maxBytes: 64 * 1024 * 1024 });
  const bundle = bytes && openBundle(bytes, key.key);
  if (bundle === undefined) throw new Error('The bundle is not there, or does not open.');
  return bundle;
}

/** Writes docker-agent's token file as docker-agent would, under the existing key. */
export async function writeBundle(
  directory: string,
  environment: Environment,
  bundle: Bundle,
): Promise<void> {
  const { files, keys } = dockerAgentParts(directory, environment);
  const key = await keys.strongest();
  await writeFileAtomically(files.bundle, sealBundle(bundle, key.key), { temporary: directory });
}

/** Names of docker-agent's files in that directory, without the one of Holdfast. */
export async function theirNames(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name !== 'holdfast').sort();
}
