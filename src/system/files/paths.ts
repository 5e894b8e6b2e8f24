import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../environment.ts';

/** The absolute paths of all of Holdfast's files and directories (DESIGN section 5). */
export interface Layout {
  readonly home: string;
  /** The user's settings, without secrets. */
  readonly config: string;
  /** The directory of the file keyring. Contains only its items and its passphrase. */
  readonly keyring: string;
  readonly passphrase: string;
  readonly credentials: string;
  readonly locks: string;
  readonly quarantine: string;
  /** Files being written. On the same file system as the other directories, so that a rename is atomic. */
  readonly temporary: string;
  /** Records that move from one key to another. Empty except during a move, or after a crash in one. */
  readonly moving: string;
  /**
   * Keys of the hand-over codes made here, and blobs of logins that moved to other machines; sealed, removed within
   * days.
   */
  readonly handover: string;
  /** Copies of other programs' files from before a login was moved out of them; sealed. */
  readonly backups: string;
  /** Server responses that the store has not accepted yet, each in its own sealed file; the best directory first. */
  readonly outboxes: readonly string[];
  /** The outbox of earlier versions. Read, never written. */
  readonly spill: string;
}

/**
 * Resolves the layout's home: `$HOLDFAST_HOME`, else `$XDG_CONFIG_HOME/holdfast`, else `~/.config/holdfast`; on Windows
 * `%LOCALAPPDATA%\holdfast`.
 *
 * @param home replaces all of them
 * @param options.orTemporary uses a directory below the temporary one if there is no home, for callers that store
 *   nothing
 * @throws InvalidArgumentError when the path is relative, since its meaning would depend on the current directory
 */
export function layoutOf(
  environment: Environment,
  home?: string,
  { orTemporary = false }: { orTemporary?: boolean } = {},
): Layout {
  const usual = home ?? defaultHome(environment);
  const isHomeless = home === undefined && !isAbsolute(usual) && !environment.variables['HOLDFAST_HOME'];
  const root = orTemporary && isHomeless ? join(tmpdir(), `holdfast-${environment.uid ?? 'home'}`) : usual;
  if (!isAbsolute(root)) {
    throw new InvalidArgumentError(
      `The directory for credentials, ${quote(root)}, is not an absolute path.`,
      {
        hint: 'Set HOLDFAST_HOME to a path that starts at the root.',
      },
    );
  }
  return {
    home: root,
    config: join(root, 'config.json'),
    keyring: join(root, 'keyring'),
    passphrase: join(root, 'keyring', 'passphrase'),
    credentials: join(root, 'credentials'),
    locks: join(root, 'locks'),
    quarantine: join(root, 'quarantine'),
    temporary: join(root, 'tmp'),
    moving: join(root, 'moving'),
    handover: join(root, 'handover'),
    backups: join(root, 'backups'),
    outboxes: [join(root, 'outbox'), ...elsewhere(environment)],
    spill: join(root, 'spill'),
  };
}

/** The absolute paths of docker-agent's files, and of Holdfast's files beside them. */
export interface DockerAgentLayout {
  readonly bundle: string;
  readonly lock: string;
  /** All of Holdfast's files are in a separate directory, except for the file keyring, which is docker-agent's. */
  readonly layout: Layout;
}

/**
 * Resolves docker-agent's configuration directory: `~/.config/cagent` on every platform.
 *
 * @param directory replaces it
 * @throws InvalidArgumentError when the path is relative
 */
export function dockerAgentLayoutOf(environment: Environment, directory?: string): DockerAgentLayout {
  const home = directory ?? join(environment.homeDirectory, '.config', 'cagent');
  if (!isAbsolute(home)) {
    throw new InvalidArgumentError(`docker-agent’s directory, ${quote(home)}, is not an absolute path.`, {
      hint: 'Give one that starts at the root: --docker-agent-dir "$HOME/.config/cagent"',
    });
  }
  const keyring = join(home, 'mcp-oauth-keyring');
  const beside = layoutOf(environment, join(home, 'holdfast'));
  return {
    bundle: join(home, 'mcp-oauth-tokens.enc'),
    lock: join(home, 'mcp-oauth-tokens.enc.lock'),
    layout: { ...beside, home, keyring, passphrase: join(keyring, 'passphrase') },
  };
}

function defaultHome({ variables, platform, homeDirectory }: Environment): string {
  if (variables['HOLDFAST_HOME']) return variables['HOLDFAST_HOME'];
  if (platform === 'win32') {
    return join(variables['LOCALAPPDATA'] || join(homeDirectory, 'AppData', 'Local'), 'holdfast');
  }
  // The XDG base directory specification says to ignore a relative value.
  const xdg = variables['XDG_CONFIG_HOME'];
  return join(xdg && isAbsolute(xdg) ? xdg : join(homeDirectory, '.config'), 'holdfast');
}

/** Returns directories on other file systems than the home's, if this machine has any that the user may write to. */
function elsewhere({ variables, uid }: Environment): string[] {
  const runtime = variables['XDG_RUNTIME_DIR'];
  // In a directory that everybody may write to, the name contains the owner's uid. The owner is checked nevertheless.
  const shared = uid === undefined ? [tmpdir()] : ['/dev/shm', tmpdir()];
  return [
    ...(runtime && isAbsolute(runtime) ? [join(runtime, 'holdfast')] : []),
    ...shared.map((directory) => join(directory, `holdfast-${uid ?? 'spill'}`)),
  ];
}
