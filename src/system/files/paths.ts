import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../environment.ts';

/** Where everything lies, as absolute paths (DESIGN section 5). */
export interface Layout {
  readonly home: string;
  /** The user's settings. No secrets. */
  readonly config: string;
  /** The directory of the file keyring; nothing but its items and its passphrase lies there. */
  readonly keyring: string;
  readonly passphrase: string;
  readonly credentials: string;
  readonly locks: string;
  readonly quarantine: string;
  /** Files being written. Beside the others, on the same file system, so that a rename is atomic. */
  readonly temporary: string;
  /** Records on their way from one key to another. Empty but for the moment of a move, or after a crash in it. */
  readonly moving: string;
  /** Keys of the hand-over codes that were made here, and blobs of logins that moved away; sealed, and gone within days. */
  readonly handover: string;
  /** Files of other programs as they were before a login was taken out of them; sealed. */
  readonly backups: string;
  /** Answers of a server that the store has not taken yet, one sealed file each; the best directory first. */
  readonly outboxes: readonly string[];
  /** Where earlier versions kept such answers. Read, and never written. */
  readonly spill: string;
}

/**
 * `$HOLDFAST_HOME`, else `$XDG_CONFIG_HOME/holdfast`, else `~/.config/holdfast`; on Windows `%LOCALAPPDATA%\holdfast`.
 *
 * @param home takes the place of all of them
 * @param options.orTemporary where there is no home at all, a directory below the temporary one: for who keeps nothing there
 * @throws InvalidArgumentError when the path is not absolute: which directory it means would depend on where one stands
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

/** docker-agent's own files, and where ours lie beside them, as absolute paths. */
export interface DockerAgentLayout {
  readonly bundle: string;
  readonly lock: string;
  /** Ours are all in a directory of their own; the file keyring is docker-agent's. */
  readonly layout: Layout;
}

/**
 * docker-agent's configuration directory: `~/.config/cagent` on every platform.
 *
 * @param directory takes its place
 * @throws InvalidArgumentError when the path is not absolute
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

/** Other file systems than the home's, if this machine has any that the user may write. */
function elsewhere({ variables, uid }: Environment): string[] {
  const runtime = variables['XDG_RUNTIME_DIR'];
  // In what everybody may write, the name says whose it is; the directory's owner is checked all the same.
  const shared = uid === undefined ? [tmpdir()] : ['/dev/shm', tmpdir()];
  return [
    ...(runtime && isAbsolute(runtime) ? [join(runtime, 'holdfast')] : []),
    ...shared.map((directory) => join(directory, `holdfast-${uid ?? 'spill'}`)),
  ];
}
