import { randomUUID } from 'node:crypto';
import { InMemoryEventStore } from '@modelcontextprotocol/sdk/examples/shared/inMemoryEventStore.js';
import { Server as Server1 } from '@modelcontextprotocol/sdk/server/index.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import {
  CallToolRequestSchema,
  CreateMessageResultSchema,
  ElicitResultSchema,
  ListToolsRequestSchema,
  McpError,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { type Answer, pace, type RealServer, serve } from './real-server.ts';

/** An SDK v1 server with tools for every kind of message. */
function toolsOf1(noted: string[]): Server1 {
  const server = new Server1(
    { name: 'real', version: '1.0.0' },
    {
      capabilities: { logging: {}, tools: { listChanged: true }, resources: { subscribe: true } },
      instructions: 'Be kind.',
    },
  );
  const said = (text: string) => ({ content: [{ type: 'text', text }] });
  server.setRequestHandler(ListToolsRequestSchema, () => ({
    tools: ['echo', 'fail', 'count', 'ask', 'wait', 'cut'].map((name) => ({
      name,
      inputSchema: { type: 'object' },
    })),
  }));
  for (const schema of [SubscribeRequestSchema, UnsubscribeRequestSchema]) {
    server.setRequestHandler(schema, ({ method, params }) => {
      noted.push(`${method} ${params.uri}`);
      return {};
    });
  }
  server.setRequestHandler(
    CallToolRequestSchema,
    async ({ params: { name, arguments: given = {} } }, extra) => {
      switch (name) {
        case 'echo':
          noted.push(`echo ${String(given['text'])}`);
          return said(String(given['text']));
        case 'count': {
          const to = Number(given['to']);
          const progressToken = extra._meta?.progressToken;
          for (let progress = 1; progress <= to; progress += 1) {
            if (progressToken !== undefined) {
              await extra.sendNotification({
                method: 'notifications/progress',
                params: { progressToken, progress, total: to },
              });
            }
            await extra.sendNotification({
              method: 'notifications/message',
              params: { level: 'info', data: progress },
            });
            await pace();
          }
          return said(`counted to ${to}`);
        }
        case 'ask': {
          const sampled = await extra.sendRequest(
            {
              method: 'sampling/createMessage',
              params: {
                messages: [{ role: 'user', content: { type: 'text', text: 'Say it.' } }],
                maxTokens: 10,
              },
            },
            CreateMessageResultSchema,
          );
          const requestedSchema = {
            type: 'object' as const,
            properties: { name: { type: 'string' as const } },
          };
          const elicited = await extra.sendRequest(
            {
              method: 'elicitation/create',
              params: { mode: 'form', message: 'Your name?', requestedSchema },
            },
            ElicitResultSchema,
          );
          // Sent over the session's stream for server messages.
          const { roots } = await server.listRoots();
          return said(JSON.stringify({ sampled: sampled.content, elicited: elicited.content, roots }));
        }
        case 'wait':
          noted.push('wait began');
          await new Promise<void>((resolve) => {
            extra.signal.addEventListener('abort', () => {
              noted.push('wait cancelled');
              resolve();
            });
          });
          return said('waited');
        case 'cut':
          // The stream ends before the answer, which the client fetches with Last-Event-ID.
          extra.closeSSEStream?.();
          await new Promise((resolve) => setTimeout(resolve, 50));
          return said('after the cut');
        default:
          throw new McpError(-32_099, 'it broke', { why: 'on purpose' });
      }
    },
  );
  return server;
}

/** Starts an SDK v1 server over Streamable HTTP with sessions and numbered events. */
export function statefulServer(
  options: { json?: boolean; unknownSession?: number } = {},
): Promise<RealServer> {
  const noted: string[] = [];
  const sessions = new Map<string, { transport: StreamableHTTPServerTransport; server: Server1 }>();
  const answer: Answer = async (request, response, body) => {
    const id = request.headers['mcp-session-id'];
    const session = typeof id === 'string' ? sessions.get(id) : undefined;
    if (session !== undefined) {
      return session.transport.handleRequest(request, response, body === '' ? undefined : JSON.parse(body));
    }
    if (id !== undefined) {
      const error = { jsonrpc: '2.0', id: null, error: { code: -32_001, message: 'Session not found' } };
      response
        .writeHead(options.unknownSession ?? 404, { 'content-type': 'application/json' })
        .end(JSON.stringify(error));
      return;
    }
    const server = toolsOf1(noted);
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      eventStore: new InMemoryEventStore(),
      enableJsonResponse: options.json ?? false,
      retryInterval: 20,
      onsessioninitialized: (sessionId) => void sessions.set(sessionId, { transport, server }),
      onsessionclosed: (sessionId) => {
        noted.push('session ended');
        sessions.delete(sessionId);
      },
    });
    await server.connect(transport);
    await transport.handleRequest(request, response, body === '' ? undefined : JSON.parse(body));
  };
  return serve(noted, '/mcp', {
    answer,
    forget: () => sessions.clear(),
    announce: () => {
      for (const { server } of sessions.values()) void server.sendToolListChanged();
    },
  });
}

/** Starts an SDK v1 server over HTTP+SSE. */
export function sseServer(): Promise<RealServer> {
  const noted: string[] = [];
  const sessions = new Map<string, SSEServerTransport>();
  const servers = new Set<Server1>();
  return serve(noted, '/sse', {
    forget: () => {
      sessions.clear();
      servers.clear();
    },
    announce: () => {
      for (const server of servers) void server.sendToolListChanged();
    },
    answer: async (request, response, body) => {
      const url = new URL(request.url ?? '', 'http://127.0.0.1');
      if (url.pathname === '/sse' && request.method === 'GET') {
        const transport = new SSEServerTransport('/messages', response);
        sessions.set(transport.sessionId, transport);
        const server = toolsOf1(noted);
        servers.add(server);
        return server.connect(transport);
      }
      const session = sessions.get(url.searchParams.get('sessionId') ?? '');
      if (url.pathname !== '/messages' || session === undefined) {
        response.writeHead(404).end('no such page');
        return;
      }
      return session.handlePostMessage(request, response, JSON.parse(body));
    },
  });
}
