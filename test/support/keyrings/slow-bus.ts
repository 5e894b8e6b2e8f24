import { connect as connectTo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryDirectory } from '../homes/home.ts';

/** Listens at the address of a bus. */
async function listenAsBus(serve: (client: Socket) => void): Promise<string> {
  const path = join(await temporaryDirectory(), 'bus');
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.on('error', () => {
      // The other end may close the connection at any time.
    });
    serve(client);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const client of clients) client.destroy();
      }),
  );
  return `unix:path=${path}`;
}

/** Puts a proxy in front of a real bus that delays each answer by `delayMs` milliseconds. */
export function slowBus(address: string, delayMs: number): Promise<string> {
  const path = /path=([^,]*)/.exec(address)?.[1] ?? '';
  return listenAsBus((client) => {
    const bus = connectTo(path);
    bus.on('error', () => {
      // The bus may close the connection at any time.
    });
    client.pipe(bus);
    bus.on('data', (chunk) => void setTimeout(() => client.write(chunk), delayMs).unref());
    client.on('close', () => bus.destroy());
  });
}

/** Starts a bus that admits everyone, unless `greeting` says otherwise, and answers everything with these bytes. */
export function babblingBus(bytes: Buffer, greeting = 'DATA\r\nOK 0123456789abcdef\r\n'): Promise<string> {
  return listenAsBus((client) => {
    client.on('data', (chunk) => {
      if (chunk.includes('AUTH')) client.write(greeting);
      else client.write(bytes);
    });
  });
}
