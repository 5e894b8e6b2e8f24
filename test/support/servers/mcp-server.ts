/**
 * A real MCP server (the SDK's) in a process of its own, over streamable HTTP, protected as MCP prescribes. Tokens are
 * checked by introspection at the authorization server. It ends with its parent.
 *
 * The first argument is JSON: `{ issuer, introspection, metadata?: 'header' | 'path' | 'root' | 'none' }`. The first line
 * of output is JSON: `{ resource, control }`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';

interface Settings {
  issuer: string;
  introspection: { clientId: string; clientSecret: string };
  metadata?: 'header' | 'path' | 'root' | 'none';
}

const PATH = '/mcp';
/** `/mcp/1`, `/mcp/2` … are servers of their own: other resources, other tokens. */
const SERVER = /^\/mcp(?:\/\d+)?$/;
const WELL_KNOWN = '/.well-known/oauth-protected-resource';
const { issuer, introspection, metadata = 'header' }: Settings = JSON.parse(process.argv[2] ?? '{}');
const counters = { calls: 0, refused: 0 };

const handler = createMcpHandler((context) => {
  const mcp = new McpServer({ name: 'test-server', version: '1.0.0' });
  mcp.registerTool('whoami', { description: 'Says who calls.' }, async () => {
    counters.calls += 1;
    const subject = String(context.authInfo?.extra?.['subject']);
    return { content: [{ type: 'text', text: `You are ${subject}.` }] };
  });
  return mcp;
});

const server = createServer((request, response) => {
  void answer(request, response).catch(() => response.writeHead(500).end());
});
const origin = await listen(server);
const resource = `${origin}${PATH}`;
const control = createServer((_request, response) => {
  response.setHeader('content-type', 'application/json').end(JSON.stringify(counters));
});
process.stdout.write(`${JSON.stringify({ resource, control: await listen(control) })}\n`);
process.stdin.resume().on('end', () => process.exit());

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? '';
  const published = publishedAt(path);
  if (published !== undefined) {
    response.setHeader('content-type', 'application/json').end(
      JSON.stringify({
        resource: published,
        authorization_servers: [issuer],
        scopes_supported: ['tools:call'],
      }),
    );
    return;
  }
  if (!SERVER.test(path)) {
    response.writeHead(404).end();
    return;
  }
  const url = `${origin}${path}`;
  const token = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
  const subject = token === undefined ? undefined : await subjectOf(token, url);
  if (token === undefined || subject === undefined) {
    counters.refused += 1;
    const pointer = metadata === 'header' ? `, resource_metadata="${origin}${WELL_KNOWN}${path}"` : '';
    response.writeHead(401, {
      'www-authenticate': `Bearer ${token === undefined ? 'scope="tools:call"' : 'error="invalid_token"'}${pointer}`,
    });
    response.end();
    return;
  }
  let body = '';
  for await (const chunk of request) body += chunk;
  const served = await handler.fetch(
    new Request(url, {
      method: request.method ?? 'POST',
      headers: Object.entries(request.headers).map(([name, value]): [string, string] => [
        name,
        String(value),
      ]),
      ...(body === '' ? {} : { body }),
    }),
    { authInfo: { token, clientId: 'test', scopes: [], extra: { subject } } },
  );
  response.writeHead(served.status, Object.fromEntries(served.headers));
  response.end(Buffer.from(await served.arrayBuffer()));
}

/** The resource whose metadata lies at that path, if it is published there. */
function publishedAt(path: string): string | undefined {
  if (metadata === 'none' || !path.startsWith(WELL_KNOWN)) return undefined;
  const server = path.slice(WELL_KNOWN.length);
  if (metadata === 'root') return server === '' ? resource : undefined;
  return SERVER.test(server) ? `${origin}${server}` : undefined;
}

/** Who the token stands for, if it is alive and meant for this server (RFC 7662, RFC 8707). */
async function subjectOf(token: string, server: string): Promise<string | undefined> {
  const basic = Buffer.from(`${introspection.clientId}:${introspection.clientSecret}`).toString('base64');
  const response = await fetch(`${issuer}/token/introspection`, {
    method: 'POST',
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ token }),
  });
  const found = (await response.json()) as { active: boolean; sub?: string; aud?: string };
  return found.active && found.aud === server ? found.sub : undefined;
}

async function listen(target: ReturnType<typeof createServer>): Promise<string> {
  await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(target.address() as AddressInfo).port}`;
}
