import type { Environment } from '../system/environment.ts';
import type { ExternalLogin } from '../transfer/types.ts';
import type { ConfiguredServer } from './configured-servers.ts';

/*
 * Other programs that store logins to MCP servers (sources). Each has one file in programs/, which knows the location
 * of its logins, the meaning of their fields, and how to remove one. sources.ts lists them all.
 */

/** The command's environment, and the user's choices. */
export interface SourceContext {
  readonly environment: Environment;
  /** Replaces the source's usual file or directory; absolute. */
  readonly file: string | undefined;
  /** The URLs that the user named, as typed. */
  readonly urls: readonly string[];
  /** The source's own name of the wanted login, if the user gave one. */
  readonly name?: string | undefined;
  /** The servers in the user's own client configurations. Reads them when called. */
  readonly configured: () => Promise<readonly ConfiguredServer[]>;
}

/**
 * Saves a source's file right before it is edited.
 *
 * @param next the file's text after the edit; `undefined` if the file is removed
 */
export type KeepBackup = (file: {
  readonly path: string;
  readonly text: string;
  readonly next: string | undefined;
}) => Promise<void>;

/** A login of a source. */
export interface FoundLogin {
  /** Its `resource` is empty if none of the user's own files says which server it is for. */
  readonly login: ExternalLogin;
  /** The source's own name for it. Untrusted text. */
  readonly name: string;
  readonly file: string;
  /**
   * Removes the login from the source, under the source's lock if it is known; everything else stays. `changed`: the
   * source has other tokens for it by now, and nothing was touched. `gone`: the source no longer has it.
   *
   * @param keep called with the file's text before a change; if it throws, nothing is taken
   */
  take(keep?: KeepBackup): Promise<'taken' | 'changed' | 'gone'>;
}

/** An entry that cannot be imported. */
export interface Skipped {
  readonly name: string;
  readonly file: string;
  readonly reason: string;
}

export interface Findings {
  readonly logins: readonly FoundLogin[];
  readonly skipped: readonly Skipped[];
  /** All searched locations, with or without logins. */
  readonly searched: readonly string[];
}

export interface Source {
  readonly id: string;
  readonly title: string;
  /** The source's behavior once its login is gone. */
  readonly afterwards: string;
  /**
   * Reads the source's logins; changes nothing.
   *
   * @throws InvalidArgumentError if the file is not in the source's format
   * @throws StorageUnreadableError
   */
  find(context: SourceContext): Promise<Findings>;
  /** Runs a write of a whole file of the source, under the source's own lock. */
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
