import { Readable } from 'node:stream';
import {
  createMcpHandler,
  fromJsonSchema,
  inputRequired,
  inputResponse,
  McpServer as McpServer2,
} from '@modelcontextprotocol/server';
import { type Answer, pace, type RealServer, serve } from './real-server.ts';

function parameters<T>(properties: Record<string, object>) {
  return fromJsonSchema<T>({ type: 'object', properties });
}

/** Starts an SDK v2 server without sessions: revision 2026-07-28 and, unless `modernOnly`, older revisions. */
export function statelessServer(options: { modernOnly?: boolean } = {}): Promise<RealServer> {
  const noted: string[] = [];
  const handler = createMcpHandler(
    () => {
      const server = new McpServer2(
        { name: 'real', version: '2.0.0' },
        { capabilities: { tools: { listChanged: true } } },
      );
      server.registerTool(
        'echo',
        { inputSchema: parameters<{ text: string }>({ text: { type: 'string' } }) },
        async ({ text: said }) => {
          noted.push(`echo ${said}`);
          return { content: [{ type: 'text', text: said }] };
        },
      );
      server.registerTool(
        'routed',
        {
          inputSchema: parameters<{ region: string }>({
            region: { type: 'string', 'x-mcp-header': 'Region' },
          }),
        },
        async ({ region }) => ({ content: [{ type: 'text', text: region }] }),
      );
      server.registerTool(
        'count',
        { inputSchema: parameters<{ to: number }>({ to: { type: 'number' } }) },
        async ({ to }, context) => {
          const { progressToken } = context.mcpReq._meta ?? {};
          for (let progress = 1; progress <= to && progressToken !== undefined; progress += 1) {
            await context.mcpReq.notify({
              method: 'notifications/progress',
              params: { progressToken, progress, total: to },
            });
            await pace();
          }
          return { content: [{ type: 'text', text: `counted to ${to}` }] };
        },
      );
      server.registerTool('name', {}, async (context) => {
        const given = inputResponse(context.mcpReq.inputResponses, 'name');
        if (given.kind !== 'elicit') {
          return inputRequired({
            inputRequests: {
              name: inputRequired.elicit({
                message: 'Your name?',
                requestedSchema: { type: 'object', properties: { name: { type: 'string' } } },
              }),
            },
          });
        }
        return { content: [{ type: 'text', text: JSON.stringify(given.content ?? given) }] };
      });
      server.registerTool('wait', {}, async (context) => {
        noted.push('wait began');
        await new Promise<void>((resolve) => {
          context.mcpReq.signal.addEventListener('abort', () => {
            noted.push('wait cancelled');
            resolve();
          });
        });
        return { content: [] };
      });
      return server;
    },
    { legacy: options.modernOnly === true ? 'reject' : 'stateless' },
  );
  const answer: Answer = async (request, response, body) => {
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    const served = await handler.fetch(
      new Request(`http://127.0.0.1${request.url}`, {
        method: request.method ?? 'POST',
        headers: Object.entries(request.headers).map(([name, value]): [string, string] => [
          name,
          String(value),
        ]),
        signal: gone.signal,
        ...(body === '' ? {} : { body }),
      }),
    );
    response.writeHead(served.status, Object.fromEntries(served.headers));
    if (served.body === null) response.end();
    else
      Readable.fromWeb(served.body as never)
        .on('error', () => response.destroy())
        .pipe(response);
  };
  return serve(noted, '/mcp', { answer, announce: () => handler.notify.toolsChanged() });
}
