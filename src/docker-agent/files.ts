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
import { sleep } from '../system/locks/keyed-mutex.ts';
import { acquireLock } from '../system/locks/lock.ts';
import { type Bundle, parseBundle, STAMP_ENDS, stampOf } from './bundle.ts';

/* Reads docker-agent's tokens: from its file, or from keyring items of its older layouts. */

/** About 20,000 entries. */
const MAX_BUNDLE_BYTES = 64 * 1024 * 1024;

/** docker-agent sets the file's mode after the rename, so a reader may see the wrong mode for a moment. */
const REREADS = 5;
const REREAD_AFTER_MS = 10;

/**
 * The layout before the file was one item with all tokens. The layout before that was one item per token, and an index.
 */
const BUNDLE_ITEM = 'oauth:tokens';
const INDEX_ITEM = 'oauth:_index';
const TOKEN_PREFIX = 'oauth:';

/** A process holds the lock only while it writes the file. In milliseconds. */
const LOCK_WAIT_MS = 30_000;

/**
 * Runs the step under docker-agent's own kind of lock: a lease file would not keep docker-agent out.
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

/** Whether docker-agent's token file exists. */
export function hasBundle(files: DockerAgentLayout): Promise<boolean> {
  return exists(files.bundle);
}

/** Returns the bytes of the token file; `undefined` when it does not exist. Throws the errors of `readPrivateFile`. */
export function readBundleFile(
  files: DockerAgentLayout,
  environment: Environment,
): Promise<Buffer | undefined> {
  return reading(files, environment, () =>
    readPrivateFile(files.bundle, environment, { maxBytes: MAX_BUNDLE_BYTES }),
  );
}

/** Returns a stamp that changes with each write of the token file. It costs the same for a large file. */
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

/** Tokens from an older layout, and the keyring items that hold them. */
export interface OldLayouts {
  readonly bundle: Bundle;
  readonly keyring: Keyring;
  readonly items: readonly string[];
}

/** Reads an older layout from the strongest keyring that has one. The bundle overrides the single items. */
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
      // While the index names an item that could not be read, both stay.
      if (items.length === index.length) items.push(INDEX_ITEM);
    }
    const bundle = parseBundle((await textOf(keyring, BUNDLE_ITEM)) ?? '');
    if (bundle !== undefined) items.push(BUNDLE_ITEM);
    for (const [url, token] of bundle ?? []) tokens.set(url, token);
    if (tokens.size > 0) return { bundle: tokens, keyring, items };
  }
  return undefined;
}

/** Call this once the file has the tokens: two copies of one refresh token end each other. */
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
