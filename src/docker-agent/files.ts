import { setTimeout as sleep } from 'node:timers/promises';
import { StorageUnsafeError } from '../errors.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { KeyringResolution } from '../keyring/resolve.ts';
import type { Environment } from '../system/environment.ts';
import type { DockerAgentLayout } from '../system/files/paths.ts';
import {
  checkPrivateDirectory,
  ensurePrivateDirectories,
  exists,
  readPrivateFile,
  readPrivateFileEnds,
} from '../system/files/private-directory.ts';
import { acquireLock } from '../system/locks/lock.ts';
import { type Bundle, parseBundle, STAMP_ENDS, stampOf } from './bundle.ts';

/* Where docker-agent has its tokens: in its file, and before that in items of the keyring. */

/** Some 20,000 entries. */
const MAX_BUNDLE_BYTES = 64 * 1024 * 1024;

/** docker-agent sets the mode of its file after giving it its name: a reader may come in between. */
const REREADS = 5;
const REREAD_AFTER_MS = 10;

/** The layout before the file: one item with all the tokens. Before that, one item each, and a list of them. */
const BUNDLE_ITEM = 'oauth:tokens';
const INDEX_ITEM = 'oauth:_index';
const TOKEN_PREFIX = 'oauth:';

/** Each process holds the lock for as long as it takes to write the file. */
const LOCK_WAIT_MS = 30_000;

/**
 * Does that under docker-agent's own lock, and no other kind: a lease file would not keep it out.
 *
 * @throws LockTimeoutError, LockUnsupportedError
 * @throws StorageUnsafeError, StorageUnwritableError
 */
export async function underLock<T>(
  { layout, lock: path }: DockerAgentLayout,
  environment: Environment,
  step: () => Promise<T>,
  waitMs = LOCK_WAIT_MS,
): Promise<T> {
  await ensurePrivateDirectories([layout.home, layout.temporary], environment);
  const kind = environment.platform === 'win32' ? 'lockfileex' : 'flock';
  const lock = await acquireLock(path, { waitMs, kind });
  try {
    return await step();
  } finally {
    await lock.release();
  }
}

/** Whether docker-agent has a token file there already. */
export function hasBundle(files: DockerAgentLayout): Promise<boolean> {
  return exists(files.bundle);
}

/** The bytes of the token file; `undefined` when there is none. Throws what `readPrivateFile` throws. */
export function readBundleFile(
  files: DockerAgentLayout,
  environment: Environment,
): Promise<Buffer | undefined> {
  return reading(files, environment, () =>
    readPrivateFile(files.bundle, environment, { maxBytes: MAX_BUNDLE_BYTES }),
  );
}

/** Changes with each writing of the token file, and costs the same however large that is. */
export function readBundleStamp(
  files: DockerAgentLayout,
  environment: Environment,
): Promise<string | undefined> {
  return reading(files, environment, async () => {
    const ends = await readPrivateFileEnds(files.bundle, environment, STAMP_ENDS);
    return ends && stampOf(ends);
  });
}

async function reading<T>(
  { layout }: DockerAgentLayout,
  environment: Environment,
  read: () => Promise<T | undefined>,
): Promise<T | undefined> {
  if (!(await checkPrivateDirectory(layout.home, environment))) return undefined;
  for (let again = REREADS; ; again -= 1) {
    try {
      return await read();
    } catch (error) {
      if (again === 0 || !(error instanceof StorageUnsafeError)) throw error;
      await sleep(REREAD_AFTER_MS);
    }
  }
}

/** Tokens that were found in an older layout, and the items that they are in. */
export interface OldLayouts {
  readonly bundle: Bundle;
  readonly keyring: Keyring;
  readonly items: readonly string[];
}

/** What the strongest keyring that has any holds in an older layout. The bundle counts for more than the single items. */
export async function oldLayouts(resolution: KeyringResolution): Promise<OldLayouts | undefined> {
  for await (const { keyring } of resolution.usable()) {
    const items: string[] = [];
    const tokens = new Map<string, unknown>();
    const index = await jsonOf(keyring, INDEX_ITEM);
    if (Array.isArray(index)) {
      for (const url of index) {
        if (typeof url !== 'string') continue;
        const token = await jsonOf(keyring, `${TOKEN_PREFIX}${url}`);
        if (token === undefined) continue;
        tokens.set(url, token);
        items.push(`${TOKEN_PREFIX}${url}`);
      }
      // It leads to what could not be read, so it stays with it.
      if (items.length === index.length) items.push(INDEX_ITEM);
    }
    const bundle = parseBundle((await textOf(keyring, BUNDLE_ITEM)) ?? '');
    if (bundle !== undefined) items.push(BUNDLE_ITEM);
    for (const [url, token] of bundle ?? []) tokens.set(url, token);
    if (tokens.size > 0) return { bundle: tokens, keyring, items };
  }
  return undefined;
}

/** Once the file has them: what is in two places is refreshed in one and dies in the other. */
export async function removeOldLayouts({ keyring, items }: OldLayouts): Promise<void> {
  for (const item of items) await keyring.delete(item);
}

async function textOf(keyring: Keyring, item: string): Promise<string | undefined> {
  const bytes = await keyring.get(item);
  return bytes && Buffer.from(bytes).toString('utf8');
}

async function jsonOf(keyring: Keyring, item: string): Promise<unknown> {
  const text = await textOf(keyring, item);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
