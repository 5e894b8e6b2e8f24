import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { OidcSettings } from './oidc-configuration.ts';
import type { PublishedSettings } from './published-metadata.ts';
import type { TokenSource } from './token-claims.ts';

/** Settings of the authorization server; see oidc-configuration.ts and published-metadata.ts. */
export interface AuthorizationServerOptions extends OidcSettings {
  /**
   * Default: `oidc-provider`. `better-auth` accepts only `accessTokenTtlSeconds` and `resourceScopes`, and never
   * misbehaves.
   */
  readonly authorizationServer?: 'oidc-provider' | 'better-auth' | undefined;
}

/** Settings of both servers. */
export interface ServerOptions extends AuthorizationServerOptions {
  /** Where the MCP server publishes its metadata. */
  readonly metadata?: 'header' | 'path' | 'root' | 'none' | undefined;
  /** `scopes_supported` of its metadata; by default `tools:call` and the scopes of `toolScopes`. */
  readonly scopesSupported?: readonly string[] | undefined;
  /**
   * Tools besides `whoami`, and the scope of each. A call without the scope is answered 403 `insufficient_scope`. The
   * authorization server has these scopes too.
   */
  readonly toolScopes?: Readonly<Record<string, string>> | undefined;
  /** The MCP server accepts only tokens bound to a key (RFC 9449), and advertises that. */
  readonly dpop?: boolean | undefined;
}

export interface Counters {
  readonly registrations: number;
  readonly codeGrants: number;
  readonly refreshGrants: number;
  readonly clientCredentialsGrants: number;
  readonly deviceGrants: number;
  readonly tokenRequests: number;
  readonly tokenErrors: number;
  readonly grantsRevoked: number;
  readonly revocations: number;
}

/** Counters of the MCP server: tool calls, refused requests, and refused requests that lacked a scope. */
export interface ResourceCounters {
  readonly calls: number;
  readonly refused: number;
  readonly stepUps: number;
}

export interface AuthorizationServer {
  readonly issuer: string;
  /** How a resource server checks tokens of this server. */
  readonly tokens: TokenSource;
  counters(): Promise<Counters>;
  /** Makes the next token requests fail; see authorization-server.ts. */
  behave(behaviour: Readonly<Record<string, unknown>>): Promise<void>;
  /** Publishes other metadata from now on. Omitted settings are those the server was started with. */
  publish(changes: Omit<PublishedSettings, 'issuerPath'>): Promise<void>;
  /** Ends every grant at the server, as an administrator would. */
  revokeGrants(): Promise<void>;
  stop(): Promise<void>;
}

/** The MCP server and the first authorization server that it names. */
export interface Servers extends AuthorizationServer {
  /** The MCP server's URL. */
  readonly resource: string;
  resourceCounters(): Promise<ResourceCounters>;
  /** Makes the MCP server demand another DPoP nonce. */
  renewNonce(): Promise<void>;
  /** Starts one more authorization server, which the MCP server does not name yet. It ends with the others. */
  another(options?: AuthorizationServerOptions): Promise<AuthorizationServer>;
  /** Makes the MCP server name these servers in that order, and accept only their tokens. */
  name(servers: readonly AuthorizationServer[]): Promise<void>;
}

/** Starts a real authorization server and a real MCP server on loopback, each in its own process. */
export async function startServers(options: ServerOptions = {}): Promise<Servers> {
  const { metadata, scopesSupported, toolScopes, dpop, ...asOptions } = options;
  const { dpopNonce } = asOptions;
  const mcp = await start('mcp-server', { metadata, scopesSupported, toolScopes, dpop, dpopNonce });
  const resource = String(mcp.says['resource']);
  const running: AuthorizationServer[] = [];
  const another = async (given: AuthorizationServerOptions = {}) => {
    const server = await startAuthorizationServer(resource, {
      ...given,
      resourceScopes: given.resourceScopes ?? Object.values(toolScopes ?? {}),
    });
    running.push(server);
    return server;
  };
  const stop = async () => {
    await Promise.all([end(mcp.child), ...running.map((server) => server.stop())]);
  };
  const name = async (servers: readonly AuthorizationServer[]) => {
    await tell(
      mcp,
      '/trust',
      servers.map(({ tokens }) => tokens),
    );
  };
  try {
    const first = await another(asOptions);
    await name([first]);
    return {
      ...first,
      resource,
      resourceCounters: async () => (await tell(mcp, '/counters')) as ResourceCounters,
      renewNonce: async () => void (await tell(mcp, '/new-nonce')),
      another,
      name,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startAuthorizationServer(
  resource: string,
  { authorizationServer = 'oidc-provider', ...settings }: AuthorizationServerOptions,
): Promise<AuthorizationServer> {
  if (authorizationServer === 'better-auth') refuseUnknown(settings);
  const as =
    authorizationServer === 'oidc-provider'
      ? await start('authorization-server', settings)
      : await start('better-auth-server', { ...settings, resources: [resource] });
  const issuer = String(as.says['issuer']);
  const { introspection, jwksUri } = as.says as Partial<TokenSource>;
  return {
    issuer,
    tokens: {
      issuer,
      ...(introspection === undefined ? {} : { introspection }),
      ...(jwksUri === undefined ? {} : { jwksUri }),
    },
    counters: async () => (await tell(as, '/counters')) as Counters,
    behave: async (behaviour) => void (await tell(as, '/behaviour', behaviour)),
    publish: async (changes) => void (await tell(as, '/publish', changes)),
    revokeGrants: async () => void (await tell(as, '/revoke-grants')),
    stop: () => end(as.child),
  };
}

/** Refuses settings that the server would ignore, since a test would then pass for the wrong reason. */
function refuseUnknown(settings: OidcSettings): void {
  const known = ['accessTokenTtlSeconds', 'resourceScopes'];
  for (const [name, value] of Object.entries(settings)) {
    if (value !== undefined && !known.includes(name)) throw new Error(`better-auth has no setting ${name}.`);
  }
}

interface Started {
  readonly child: ChildProcess;
  readonly says: Readonly<Record<string, unknown>>;
}

async function tell({ says }: Started, path: string, body: unknown = {}): Promise<unknown> {
  const response = await fetch(`${String(says['control'])}${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`The test server does not do ${path}: ${await response.text()}`);
  return response.json();
}

async function start(name: string, settings: unknown): Promise<Started> {
  const script = fileURLToPath(new URL(`./${name}.ts`, import.meta.url));
  // Its standard input closes when this process ends for any reason.
  const child = spawn(
    process.execPath,
    ['--no-warnings', '--import', 'tsx', script, JSON.stringify(settings)],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  for await (const line of createInterface({ input: child.stdout })) {
    return { child, says: JSON.parse(line) as Record<string, unknown> };
  }
  throw new Error(`The test server ${name} ended before it listened.`);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}
