import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface ServerOptions {
  readonly accessTokenTtlSeconds?: number;
  /** Where the MCP server publishes its metadata. */
  readonly metadata?: 'header' | 'path' | 'root' | 'none';
}

export interface Counters {
  readonly registrations: number;
  readonly codeGrants: number;
  readonly refreshGrants: number;
  readonly tokenRequests: number;
  readonly tokenErrors: number;
  readonly grantsRevoked: number;
  readonly revocations: number;
}

export interface Servers {
  /** The MCP server's URL. */
  readonly resource: string;
  readonly issuer: string;
  counters(): Promise<Counters>;
  /** How the next token requests go wrong; see authorization-server.ts. */
  behave(behaviour: Readonly<Record<string, unknown>>): Promise<void>;
  /** Ends every grant at the server, as an administrator would. */
  revokeGrants(): Promise<void>;
  stop(): Promise<void>;
}

/** A real authorization server and a real MCP server on loopback, each a process of its own. */
export async function startServers(options: ServerOptions = {}): Promise<Servers> {
  const as = await start('authorization-server', { accessTokenTtlSeconds: options.accessTokenTtlSeconds });
  const { issuer, control, introspection } = as.says;
  let mcp: Started;
  try {
    mcp = await start('mcp-server', { issuer, introspection, metadata: options.metadata });
  } catch (error) {
    await end(as.child);
    throw error;
  }
  const ask = async (path: string, body?: unknown) => {
    const response = await fetch(`${String(control)}${path}`, {
      method: 'POST',
      body: JSON.stringify(body ?? {}),
    });
    return (await response.json()) as Counters;
  };
  return {
    resource: mcp.says['resource'] as string,
    issuer: String(issuer),
    counters: () => ask('/counters'),
    behave: async (behaviour) => void (await ask('/behaviour', behaviour)),
    revokeGrants: async () => void (await ask('/revoke-grants')),
    stop: async () => void (await Promise.all([end(as.child), end(mcp.child)])),
  };
}

interface Started {
  readonly child: ChildProcess;
  readonly says: Readonly<Record<string, unknown>>;
}

async function start(name: string, settings: unknown): Promise<Started> {
  const script = fileURLToPath(new URL(`./servers/${name}.ts`, import.meta.url));
  // Its standard input is how it notices that we are gone, however we went.
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
