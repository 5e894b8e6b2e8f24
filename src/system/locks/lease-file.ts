import { createHash, randomBytes } from 'node:crypto';
import { lstat, readlink, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileSystemOf } from '../files/file-system.ts';
import { storageError, systemErrorCode } from '../files/storage-error.ts';
import { type Liveness, livenessOf, type ProcessIdentity, thisProcess } from './process-identity.ts';

/*
 * A lock for where flock does not work: a name that only one can make, with its owner's identity in it. It is a symbolic
 * link that leads nowhere, because making one is atomic, exclusive, and brings its content along: no reader ever finds
 * half an identity, and no crash leaves an empty one.
 *
 * A kernel does not free it, so a dead owner's is taken over, and only from an owner that is provably dead. For that
 * nothing is removed or replaced, which could hit a living one's: the successor makes a second link whose name is derived
 * from the dead one's content, which again only one can make. The end of that chain owns the lock. Who releases removes
 * the first link first; what is left of the chain then belongs to nothing.
 */

/** `held`: `owner` is alive, or cannot be seen from here. */
export type LeaseFileResult =
  | { readonly outcome: 'locked'; readonly release: () => Promise<void> }
  | { readonly outcome: 'held'; readonly owner: string }
  | { readonly outcome: 'unsupported'; readonly cause: unknown };

/** A chain grows by one each time that a taker dies while it holds the lock. */
const LONGEST_CHAIN = 1_000;

/** Leases that were given back here and could not be removed, on a disk that took no write: their owner lives, and has done with them. */
const unremoved = new Set<string>();

/** Tries once. */
export async function tryLeaseFile(path: string): Promise<LeaseFileResult> {
  const first = `${path}.owner`;
  const me = identityText();
  let owner: string | undefined;
  try {
    if (await make(first, me)) return locked(me, [first]);
    const chain = await chainFrom(first);
    const last = chain.at(-1);
    // Released between the two looks.
    if (last === undefined) return { outcome: 'held', owner: 'another process' };
    owner = last.target;
    if (!(await isDead(last.target, path))) return { outcome: 'held', owner: describe(owner) };
    const mine = successor(path, last.target);
    if (!(await make(mine, me))) return { outcome: 'held', owner: describe(owner) };
    // The chain may have been released, its links removed and made anew, since it was read. Its first link goes first,
    // so if that is still the same, so was the rest.
    const now = await chainFrom(first);
    if (now.at(-1)?.link !== mine) {
      await remove([mine]);
      return { outcome: 'held', owner: 'another process' };
    }
    return locked(me, [first, ...now.slice(1).map(({ link }) => link)]);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOSYS') {
      return { outcome: 'unsupported', cause: error };
    }
    throw storageError(error, 'write', first);
  }
}

/** A lease that is not given back, by a process that cannot be seen from here: it may live, or have been killed. */
export interface UnseenLease {
  /** Whoever removes it frees the lease. */
  readonly file: string;
  /** In words: `process 42 on HOST`. */
  readonly holder: string;
  /** Milliseconds since the epoch, by the clock of the file system. */
  readonly since: number;
}

/**
 * The lease files in a directory whose holder can be proven neither alive nor dead. Takes none over.
 *
 * @throws StorageUnreadableError
 */
export async function unseenLeases(directory: string, names: readonly string[]): Promise<UnseenLease[]> {
  const unseen: UnseenLease[] = [];
  for (const name of names.filter((one) => one.endsWith('.owner'))) {
    const first = join(directory, name);
    try {
      const last = (await chainFrom(first)).at(-1);
      const isUnseen = last !== undefined && (await livenessOfOwner(last.target, first)) === 'unknown';
      if (!isUnseen) continue;
      const since = Math.round((await lstat(last.link)).mtimeMs);
      unseen.push({ file: first, holder: describe(last.target), since });
    } catch (error) {
      // Given back between two looks; or no link at all, and so no lease.
      const code = systemErrorCode(error);
      if (code !== 'ENOENT' && code !== 'EINVAL') throw storageError(error, 'read', first);
    }
  }
  return unseen;
}

function locked(me: string, links: readonly string[]): LeaseFileResult {
  const release = async () => {
    try {
      await remove(links);
    } catch (error) {
      unremoved.add(me);
      throw error;
    }
  };
  return { outcome: 'locked', release };
}

interface Link {
  readonly link: string;
  readonly target: string;
}

async function chainFrom(first: string): Promise<Link[]> {
  const path = first.slice(0, -'.owner'.length);
  const chain: Link[] = [];
  for (let link = first; chain.length < LONGEST_CHAIN; ) {
    const target = await targetOf(link);
    if (target === undefined) break;
    chain.push({ link, target });
    link = successor(path, target);
  }
  return chain;
}

function successor(path: string, target: string): string {
  return `${path}.after-${createHash('sha256').update(target).digest('base64url').slice(0, 22)}`;
}

async function make(link: string, target: string): Promise<boolean> {
  try {
    await symlink(target, link);
    return true;
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw error;
    // A network file system may have made it and lost the answer: then it is ours.
    return (await targetOf(link)) === target;
  }
}

async function targetOf(link: string): Promise<string | undefined> {
  try {
    return await readlink(link);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function remove(links: readonly string[]): Promise<void> {
  for (const link of links) {
    await unlink(link).catch((error: unknown) => {
      if (systemErrorCode(error) !== 'ENOENT') throw storageError(error, 'write', link);
    });
  }
}

/** The identity, and a nonce: two leases of one process are two. A slash would be read as a path by those who look. */
function identityText(): string {
  const { boot, namespace, host, pid, started } = thisProcess();
  const parts = [boot, namespace, host, pid, started, randomBytes(9).toString('base64url')];
  return parts.map((part) => encodeURIComponent(part)).join('&');
}

function parse(text: string): ProcessIdentity | undefined {
  const [boot, namespace, host, pid, started, nonce] = text.split('&').map(decodeURIComponent);
  if (nonce === undefined || !/^\d+$/.test(pid ?? '')) return undefined;
  return {
    boot: boot ?? '',
    namespace: namespace ?? '',
    host: host ?? '',
    pid: Number(pid),
    started: started ?? '',
  };
}

async function isDead(target: string, path: string): Promise<boolean> {
  return unremoved.has(target) || (await livenessOfOwner(target, path)) === 'dead';
}

async function livenessOfOwner(target: string, path: string): Promise<Liveness> {
  const owner = parse(target);
  if (owner === undefined) return 'unknown';
  const { kind } = await fileSystemOf(path, process.platform);
  return livenessOf(owner, { sameMachine: kind === 'disk' || kind === 'memory' });
}

function describe(target: string): string {
  const owner = parse(target);
  return owner === undefined ? 'an unknown owner' : `process ${owner.pid} on ${owner.host}`;
}
