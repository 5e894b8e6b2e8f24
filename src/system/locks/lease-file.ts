import { createHash, randomBytes } from 'node:crypto';
import { lstat, readlink, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileSystemOf } from '../files/file-system.ts';
import { storageError, systemErrorCode } from '../files/storage-error.ts';
import { type Liveness, livenessOf, type ProcessIdentity, thisProcess } from './process-identity.ts';

/*
 * A lock for file systems without a working flock: a path that only one process can create, which contains the owner's
 * identity. It is a symbolic link without a target file, since creating a link is atomic and exclusive and includes its
 * content. So no reader ever finds half an identity, and no crash leaves an empty one.
 *
 * The kernel does not free this lock, so a successor takes it over, and only from an owner that is provably dead. A
 * takeover removes and replaces nothing, since that could hit a living owner's link. Instead the successor creates a
 * second link. Its name is derived from the content of the dead owner's link, so again only one process can create it.
 * The last link of that chain owns the lock. A release removes the first link first; the rest of the chain then has no
 * meaning.
 */

/** `held`: `owner` is alive, or this process cannot see it. */
export type LeaseFileResult =
  | { readonly outcome: 'locked'; readonly release: () => Promise<void> }
  | { readonly outcome: 'held'; readonly owner: string }
  | { readonly outcome: 'unsupported'; readonly cause: unknown };

/** Maximum length of a chain. It grows by one each time that an owner dies while it holds the lock. */
const LONGEST_CHAIN = 1_000;

/**
 * Leases that this process released but could not remove, since the disk accepted no write. Their owner is alive but no
 * longer needs them.
 */
const unremoved = new Set<string>();

/** Tries once to take the lock. */
export async function tryLeaseFile(path: string): Promise<LeaseFileResult> {
  const first = `${path}.owner`;
  const me = identityText();
  let owner: string | undefined;
  try {
    if (await make(first, me)) return locked(me, [first]);
    const chain = await chainFrom(first);
    const last = chain.at(-1);
    // The owner released the lock between the two reads.
    if (last === undefined) return { outcome: 'held', owner: 'another process' };
    owner = last.target;
    if (!(await isDead(last.target, path))) return { outcome: 'held', owner: describe(owner) };
    const mine = successor(path, last.target);
    if (!(await make(mine, me))) return { outcome: 'held', owner: describe(owner) };
    // Since the read, an owner may have released the chain and others may have created its links again. A release
    // removes the first link first, so if that is unchanged, the whole chain is.
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

/** An unreleased lease of a process that this one cannot see: it may be alive, or killed. */
export interface UnseenLease {
  /** The file to remove to free the lease. */
  readonly file: string;
  /** The holder in words: `process 42 on HOST`. */
  readonly holder: string;
  /** Milliseconds since the epoch, on the file system's clock. */
  readonly since: number;
}

/**
 * Lists the lease files in a directory whose holder can be proven neither alive nor dead. Takes over none of them.
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
      // Released between two reads (ENOENT), or not a link and so not a lease (EINVAL).
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
    // A network file system may have created the link and lost the response. Then the link is ours.
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

/**
 * Returns this process's identity and a nonce, which tells two leases of one process apart. The parts are encoded,
 * since readers would take a slash for a path.
 */
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
