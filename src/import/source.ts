import type { Environment } from '../system/environment.ts';
import type { ExternalLogin } from '../transfer/types.ts';
import type { ConfiguredServer } from './configured-servers.ts';

/*
 * Other programs that keep logins to MCP servers. Each has one file here, which knows where its logins lie, what their
 * fields mean, and how one of them is taken out; which peers there are says peers.ts.
 */

/** Where the command was called, and what the person said. */
export interface SourceContext {
  readonly environment: Environment;
  /** In place of the peer's usual file, or directory; absolute. */
  readonly file: string | undefined;
  /** URLs that the person named, as they were typed. */
  readonly urls: readonly string[];
  /** The peer's own name of the login that is meant, where the person gave one. */
  readonly name?: string | undefined;
  /** The servers in the person's own configuration of the clients. Read when they are asked for. */
  readonly configured: () => Promise<readonly ConfiguredServer[]>;
}

/**
 * Keeps a file of the peer as it is, right before it is edited.
 *
 * @param next what it will be then; `undefined` where it is removed
 */
export type KeepBackup = (file: {
  readonly path: string;
  readonly text: string;
  readonly next: string | undefined;
}) => Promise<void>;

/** A login that a peer has. */
export interface FoundLogin {
  /** Its `resource` is empty where nothing of the person's own says which server it is for. */
  readonly login: ExternalLogin;
  /** The peer's own name for it. Foreign text. */
  readonly name: string;
  readonly file: string;
  /**
   * Takes it out of the peer's file, under the peer's lock where that is known; everything else there stays. `changed`: the
   * peer has other tokens for it by now, and nothing was touched. `gone`: it is not there any more.
   *
   * @param keep called with what the file holds, before that changes; when it throws, nothing is taken
   */
  take(keep?: KeepBackup): Promise<'taken' | 'changed' | 'gone'>;
}

/** Something that is there and cannot be imported. */
export interface Skipped {
  readonly name: string;
  readonly file: string;
  readonly reason: string;
}

export interface Findings {
  readonly logins: readonly FoundLogin[];
  readonly skipped: readonly Skipped[];
  /** Where was looked, whether anything was there or not. */
  readonly places: readonly string[];
}

export interface Source {
  readonly id: string;
  readonly title: string;
  /** What the peer does when its login has gone. */
  readonly afterwards: string;
  /**
   * Reads what the peer has; changes nothing.
   *
   * @throws InvalidArgumentError when its file is not what that peer writes
   * @throws StorageUnreadableError
   */
  find(context: SourceContext): Promise<Findings>;
  /** Runs a write of that file of its, as a whole, under its own lock. */
  readonly lock?:
    | (<T>(path: string, context: SourceContext, write: () => Promise<T>) => Promise<T>)
    | undefined;
}

export function sameTokens(a: ExternalLogin, b: ExternalLogin): boolean {
  if (a.refreshToken !== undefined || b.refreshToken !== undefined) {
    return a.refreshToken?.equals(b.refreshToken) ?? false;
  }
  return a.accessToken.equals(b.accessToken);
}
