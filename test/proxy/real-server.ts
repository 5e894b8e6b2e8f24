import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';

/* The SDKs' own MCP servers without login, on loopback in this process: see sdk1-servers.ts and sdk2-servers.ts. */

/** A received HTTP request; the newest is last. */
export interface Seen {
  readonly method: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export interface RealServer {
  readonly url: string;
  readonly seen: Seen[];
  /** Notes that the tools have made, by name. */
  readonly noted: string[];
  /** Ends all connections and sessions, and listens on the same port again. */
  restart(): Promise<void>;
  down(): Promise<void>;
  up(): Promise<void>;
  /** Forgets the sessions as a restarted server would, but closes no connection. */
  forget(): void;
  /** Notifies every session that the tools have changed. */
  announce(): void;
}

export type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => Promise<void>;

export async function serve(
  noted: string[],
  path: string,
  parts: { answer: Answer; forget?: () => void; announce?: () => void },
): Promise<RealServer> {
  const seen: Seen[] = [];
  let server: Server | undefined;
  let port = 0;
  const up = async () => {
    server = createServer((request, response) => {
      void (async () => {
        const body = await text(request);
        seen.push({ method: request.method ?? '', headers: request.headers, body });
        await parts.answer(request, response, body);
      })().catch((error: unknown) => {
        if (!response.headersSent) response.writeHead(500);
        response.end(String(error));
      });
    });
    await new Promise<void>((resolve) => server?.listen(port, '127.0.0.1', resolve));
    ({ port } = server.address() as AddressInfo);
  };
  const down = async () => {
    parts.forget?.();
    server?.closeAllConnections();
    await new Promise((resolve) => server?.close(resolve));
  };
  await up();
  onTestFinished(down);
  return {
    url: `http://127.0.0.1:${port}${path}`,
    seen,
    noted,
    up,
    down,
    restart: async () => {
      await down();
      await up();
    },
    forget: () => parts.forget?.(),
    announce: () => parts.announce?.(),
  };
}

/** SDK clients lose a message that arrives together with the answer, so this waits a moment. */
export function pace(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 15));
}
