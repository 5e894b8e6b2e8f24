import { isAbsolute, join } from 'node:path';
import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';
import type { Environment } from '../system/environment.ts';
import type { ConfigFormat, Entry } from './config-format.ts';

/*
 * The location of each client's MCP servers, and the form of an entry that the client starts itself. docs/clients.md
 * lists the sources that these were checked against.
 */

export type ClientId =
  | 'claude-code'
  | 'claude-desktop'
  | 'cursor'
  | 'vscode'
  | 'codex'
  | 'gemini'
  | 'opencode'
  | 'docker-agent';

/**
 * `user`: for every project of this user. `project`: in the project's own directory, shared by everybody who works on
 * it.
 */
export type Scope = 'user' | 'project';

/** The command's environment and directory. */
export interface ProjectContext {
  readonly environment: Environment;
  /** The project's directory, absolute. */
  readonly directory: string;
}

export interface Client {
  readonly id: ClientId;
  readonly title: string;
  readonly format: ConfigFormat['name'];
  /** The client's files; the first existing one is used. Empty if the user must name the file. */
  readonly files: Readonly<Partial<Record<Scope, (context: ProjectContext) => readonly string[]>>>;
  /** Paths that exist if the client is installed or was used. */
  readonly marks: (context: ProjectContext) => readonly string[];
  /** The client's command, if it has one. */
  readonly program?: string | undefined;
  /** The keys that lead to the client's entries, in a file with these values. */
  readonly holder: (values: unknown, agent: string | undefined) => readonly string[];
  /** An entry that starts this program. */
  readonly entry: (program: readonly string[], args: readonly string[], name: string | undefined) => Entry;
  /** Graphical programs do not start with a shell's PATH. */
  readonly needsAbsolute?: boolean | undefined;
}

const servers = () => ['mcpServers'];
const plain: Client['entry'] = ([command, ...first], args) => ({ command, args: [...first, ...args] });
const typed: Client['entry'] = (program, args, name) => ({ type: 'stdio', ...plain(program, args, name) });

export const CLIENTS: readonly Client[] = [
  {
    id: 'claude-code',
    title: 'Claude Code',
    format: 'JSON',
    files: {
      user: ({ environment }) => [
        join(environment.variables['CLAUDE_CONFIG_DIR'] || environment.homeDirectory, '.claude.json'),
      ],
      project: ({ directory }) => [join(directory, '.mcp.json')],
    },
    marks: ({ environment }) => [join(environment.homeDirectory, '.claude')],
    program: 'claude',
    holder: servers,
    entry: typed,
  },
  {
    id: 'claude-desktop',
    title: 'Claude Desktop',
    format: 'JSON',
    files: {
      user: ({ environment }) => [join(applicationData(environment), 'Claude', 'claude_desktop_config.json')],
    },
    marks: ({ environment }) => [join(applicationData(environment), 'Claude')],
    holder: servers,
    entry: plain,
    needsAbsolute: true,
  },
  {
    id: 'cursor',
    title: 'Cursor',
    format: 'JSON',
    files: {
      user: ({ environment }) => [join(environment.homeDirectory, '.cursor', 'mcp.json')],
      project: ({ directory }) => [join(directory, '.cursor', 'mcp.json')],
    },
    marks: ({ environment }) => [join(environment.homeDirectory, '.cursor')],
    program: 'cursor',
    holder: servers,
    entry: plain,
  },
  {
    id: 'vscode',
    title: 'VS Code',
    format: 'JSON',
    files: {
      user: ({ environment }) => [join(applicationData(environment), 'Code', 'User', 'mcp.json')],
      project: ({ directory }) => [join(directory, '.vscode', 'mcp.json')],
    },
    marks: ({ environment }) => [join(applicationData(environment), 'Code')],
    program: 'code',
    holder: () => ['servers'],
    entry: typed,
  },
  {
    id: 'codex',
    title: 'Codex',
    format: 'TOML',
    files: {
      user: ({ environment }) => [
        join(environment.variables['CODEX_HOME'] || join(environment.homeDirectory, '.codex'), 'config.toml'),
      ],
      project: ({ directory }) => [join(directory, '.codex', 'config.toml')],
    },
    marks: ({ environment }) => [join(environment.homeDirectory, '.codex')],
    program: 'codex',
    holder: () => ['mcp_servers'],
    entry: plain,
  },
  {
    id: 'gemini',
    title: 'Gemini CLI',
    format: 'JSON',
    files: {
      user: ({ environment }) => [
        join(
          environment.variables['GEMINI_CLI_HOME'] || environment.homeDirectory,
          '.gemini',
          'settings.json',
        ),
      ],
      project: ({ directory }) => [join(directory, '.gemini', 'settings.json')],
    },
    marks: ({ environment }) => [join(environment.homeDirectory, '.gemini')],
    program: 'gemini',
    holder: servers,
    entry: plain,
  },
  {
    id: 'opencode',
    title: 'opencode',
    format: 'JSON',
    files: {
      user: ({ environment }) => {
        const directory = join(configHome(environment), 'opencode');
        return [join(directory, 'opencode.jsonc'), join(directory, 'opencode.json')];
      },
      project: ({ directory }) => [join(directory, 'opencode.jsonc'), join(directory, 'opencode.json')],
    },
    marks: ({ environment }) => [join(configHome(environment), 'opencode')],
    program: 'opencode',
    holder: (values) => (hasNestedServers(values) ? ['mcp', 'servers'] : ['mcp']),
    entry: (program, args) => ({ type: 'local', command: [...program, ...args] }),
  },
  {
    id: 'docker-agent',
    title: 'docker-agent',
    format: 'YAML',
    files: {},
    marks: ({ environment }) => [join(environment.homeDirectory, '.config', 'cagent')],
    program: 'docker-agent',
    holder: (values, agent) => ['agents', agentIn(values, agent), 'toolsets'],
    entry: (program, args, name) => ({
      type: 'mcp',
      ...(name === undefined ? {} : { name }),
      ...plain(program, args, name),
    }),
  },
];

/** The directory of a graphical program's data (Electron's `appData`). */
function applicationData(environment: Environment): string {
  const { platform, variables, homeDirectory } = environment;
  if (platform === 'darwin') return join(homeDirectory, 'Library', 'Application Support');
  if (platform === 'win32') return variables['APPDATA'] || join(homeDirectory, 'AppData', 'Roaming');
  return configHome(environment);
}

/** opencode uses this directory on every platform. */
function configHome({ variables, homeDirectory }: Environment): string {
  const given = variables['XDG_CONFIG_HOME'];
  return given && isAbsolute(given) ? given : join(homeDirectory, '.config');
}

/**
 * opencode 2 stores its servers one level deeper, and also reads those of version 1. A server may be named `servers`.
 */
function hasNestedServers(values: unknown): boolean {
  const nested = objectAt(objectAt(values, 'mcp'), 'servers');
  return nested !== undefined && !('type' in nested) && !('command' in nested) && !('enabled' in nested);
}

/** @throws InvalidArgumentError if the agent is ambiguous */
function agentIn(values: unknown, agent: string | undefined): string {
  const names = Object.keys(objectAt(values, 'agents') ?? {});
  if (agent !== undefined) {
    if (names.length === 0 || names.includes(agent)) return agent;
    throw new InvalidArgumentError(`There is no agent ${quote(agent, 80)} in that file.`, {
      hint: `It has: ${names.map((name) => quote(name, 80)).join(', ')}`,
    });
  }
  const [first, ...others] = names;
  if (first === undefined || names.includes('root')) return 'root';
  if (others.length === 0) return first;
  throw new InvalidArgumentError('That file has several agents, and none is called root.', {
    hint: `Say which: --agent ${first}`,
  });
}

function objectAt(values: unknown, key: string): Readonly<Record<string, unknown>> | undefined {
  if (typeof values !== 'object' || values === null || !Object.hasOwn(values, key)) return undefined;
  const value = (values as Entry)[key];
  return typeof value === 'object' && value !== null ? (value as Entry) : undefined;
}
