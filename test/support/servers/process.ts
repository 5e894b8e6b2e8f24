import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/*
 * Shared by all test servers that run as processes: each prints its address, takes commands, and ends with its parent.
 */

/** The parent's settings, as JSON in the first argument. */
export function settingsOf<Settings>(): Settings {
  return JSON.parse(process.argv[2] ?? '{}') as Settings;
}

/** Listens on a free loopback port. @returns the origin */
export async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Prints the line that the parent waits for, and ends this process when the parent ends for any reason. */
export function announce(says: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(says)}\n`);
  process.stdin.resume().on('end', () => process.exit());
}

/**
 * Opens a second port, by which the parent reads counters and gives commands. The answer is the result of the action
 * with the request's path, or else that of `/counters`. A path without an action is answered 404.
 */
export async function openControl(
  counters: () => unknown,
  actions: Readonly<Record<string, (body: unknown) => unknown>> = {},
): Promise<string> {
  const server = createServer((request, response) => {
    void (async () => {
      const action = actions[request.url ?? ''];
      if (action === undefined && request.url !== '/counters') return void response.writeHead(404).end();
      const answer = await action?.(JSON.parse((await bodyOf(request)) || '{}'));
      response.setHeader('content-type', 'application/json').end(JSON.stringify(answer ?? counters()));
    })().catch((error: unknown) => response.writeHead(500).end(String(error)));
  });
  return listen(server);
}

export async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
