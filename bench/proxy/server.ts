/**
 * The MCP server of `npm run bench:proxy`, a process of its own: SDK v2, revisions with and without `initialize`. It wants a
 * bearer token and names the authorization server of its first argument, which is JSON. Where that says how to introspect tokens, only
 * those are taken that live. It ends with its parent.
 *
 * The first line of output is JSON: `{ resource }`. `GET /counters` tells what was called.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { createMcpHandler, fromJsonSchema, McpServer } from '@modelcontextprotocol/server';
import { type TokenSource, tokenClaims } from '../../test/support/servers/token-claims.ts';

const { issuer, tokens } = JSON.parse(process.argv[2] ?? '{}') as { issuer: string; tokens?: TokenSource };

/** How often each call was worked on, by the name that its caller gave it. */
const worked = new Map<string, number>();
/** Until when each token is good, in milliseconds since the epoch. */
const goodUntil = new Map<string, number>();
let refused = 0;

/** Resource servers forgive clocks that differ; and a life in whole seconds may have lost nearly one. */
const LEEWAY_MS = 1_000;

/** So often, all tokens of that moment are taken no more. */
const REVOKE_EVERY_MS = 15_000;
setInterval(() => {
  for (const token of goodUntil.keys()) goodUntil.set(token, 0);
}, REVOKE_EVERY_MS).unref();

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'bench', version: '1.0.0' });
  const inputSchema = fromJsonSchema<{ text: string }>({
    type: 'object',
    properties: { text: { type: 'string' } },
  });
  server.registerTool('echo', { inputSchema }, async ({ text: said }) => ({
    content: [{ type: 'text', text: said }],
  }));
  // Says three times that it is still at it.
  server.registerTool('work', { inputSchema }, async ({ text: said }, context) => {
    worked.set(said, (worked.get(said) ?? 0) + 1);
    const { progressToken } = context.mcpReq._meta ?? {};
    for (let progress = 1; progress <= 3; progress += 1) {
      await new Promise((resolve) => setTimeout(resolve, 65));
      if (progressToken === undefined) continue;
      await context.mcpReq.notify({
        method: 'notifications/progress',
        params: { progressToken, progress, total: 3 },
      });
    }
    return { content: [{ type: 'text', text: said }] };
  });
  return server;
});

const server = createServer((request, response) => {
  void answer(request, response).catch(() => response.writeHead(500).end());
});
server.listen(0, '127.0.0.1', () => {
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  console.log(JSON.stringify({ resource: `${origin}/mcp` }));
});
process.stdin.on('end', () => process.exit()).resume();

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const origin = `http://${request.headers.host}`;
  const resource = `${origin}/mcp`;
  const path = request.url ?? '';
  if (path === '/counters') {
    const doubled = [...worked.values()].filter((times) => times > 1).length;
    response.end(JSON.stringify({ calls: worked.size, doubled, tokens: goodUntil.size, refused }));
    return;
  }
  if (path.startsWith('/.well-known/oauth-protected-resource')) {
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({ resource, authorization_servers: [issuer], scopes_supported: ['tools:call'] }),
    );
    return;
  }
  if (path !== '/mcp') return void response.writeHead(404).end();
  const body = await text(request);
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  if (token === undefined || (tokens !== undefined && !(await isGood(token, resource, tokens)))) {
    refused += 1;
    const metadata = `resource_metadata="${origin}/.well-known/oauth-protected-resource/mcp"`;
    return void response.writeHead(401, { 'www-authenticate': `Bearer ${metadata}` }).end();
  }
  const served = await handler.fetch(
    new Request(resource, {
      method: request.method ?? 'POST',
      headers: Object.entries(request.headers).map(([name, value]): [string, string] => [
        name,
        String(value),
      ]),
      ...(body === '' ? {} : { body }),
    }),
  );
  response.writeHead(served.status, Object.fromEntries(served.headers));
  if (served.body === null) response.end();
  else Readable.fromWeb(served.body as never).pipe(response);
}

/** Asked once for each token; its end is kept to the millisecond. */
async function isGood(token: string, resource: string, source: TokenSource): Promise<boolean> {
  const until = goodUntil.get(token);
  if (until !== undefined) return Date.now() < until;
  const claims = (await tokenClaims(token, resource, [source])) as { exp?: number } | undefined;
  if (claims?.exp === undefined) return false;
  const end = claims.exp * 1000 + LEEWAY_MS;
  goodUntil.set(token, end);
  return Date.now() < end;
}
