import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client as Client2 } from '@modelcontextprotocol/client';
import { StdioClientTransport as Stdio2 } from '@modelcontextprotocol/client/stdio';
import { Client as Client1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as Stdio1 } from '@modelcontextprotocol/sdk/client/stdio.js';
import { afterAll, beforeAll, onTestFinished } from 'vitest';
import { bundled } from '../support/homes/bundle.ts';

/* `holdfast proxy` as a client starts it, with the official clients of both SDKs. */

export interface Program {
  readonly command: string;
  readonly args: (...args: string[]) => string[];
}

/** Bundles the command into one file, as installed, once for a test file. Call it at the top of the file. */
export function program(): Program {
  let directory = '';
  let file = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
    file = await bundled(directory, 'holdfast', new URL('../../src/cli/bin.ts', import.meta.url));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));
  return { command: process.execPath, args: (...args) => [file, 'proxy', ...args] };
}

export type Variables = Readonly<Record<string, string>>;

/** Connects an SDK v1 client through the proxy. */
export async function client1(
  { command, args }: Program,
  given: readonly string[],
  variables: Variables = {},
  capabilities: ConstructorParameters<typeof Client1>[1] = {},
  prepare: (client: Client1) => void = () => {},
) {
  const transport = new Stdio1({
    command,
    args: args(...given),
    env: environment(variables),
    stderr: 'inherit',
  });
  const client = new Client1({ name: 'test', version: '1.0.0' }, capabilities);
  onTestFinished(() => client.close());
  prepare(client);
  await client.connect(transport);
  return client;
}

/** Connects an SDK v2 client through the proxy, with revision 2026-07-28 by default. */
export async function client2(
  { command, args }: Program,
  given: readonly string[],
  options: NonNullable<ConstructorParameters<typeof Client2>[1]> = {},
  variables: Variables = {},
  prepare: (client: Client2) => void = () => {},
) {
  const transport = new Stdio2({
    command,
    args: args(...given),
    env: environment(variables),
    stderr: 'inherit',
  });
  const client = new Client2(
    { name: 'test', version: '1.0.0' },
    { versionNegotiation: { mode: { pin: '2026-07-28' } }, ...options },
  );
  onTestFinished(() => client.close());
  prepare(client);
  await client.connect(transport);
  return client;
}

export type Sent = Readonly<Record<string, unknown>>;

/** The proxy's raw standard input and output, for messages that no SDK client sends. */
export interface Raw {
  readonly child: ChildProcess;
  write(message: Sent | readonly Sent[] | string): void;
  /** Returns the next received message that fits; each message is returned once. */
  next(fits: (message: Received) => boolean): Promise<Received>;
  /** Sends a request now and returns its answer. */
  ask(method: string, params?: object): Promise<Received>;
  /** Initializes the session as a client of 2025-11-25 does. */
  begin(capabilities?: object): Promise<Received>;
  readonly received: readonly Received[];
  readonly lines: readonly string[];
  errors(): string;
  /** Ends the standard input and returns the exit code. */
  end(): Promise<number | null>;
}

export interface Received {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

export function raw({ command, args }: Program, given: readonly string[], variables: Variables = {}): Raw {
  const child = spawn(command, args(...given), { env: environment(variables), stdio: 'pipe' });
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines: string[] = [];
  const received: Received[] = [];
  let unread: Received[] = [];
  let errors = '';
  const listeners = new Set<() => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    const message = JSON.parse(line) as Received;
    received.push(message);
    unread.push(message);
    for (const listener of listeners) listener();
  });
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const ended = once(child, 'exit') as Promise<[number | null]>;
  const next: Raw['next'] = (fits) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const found = unread.find(fits);
        if (found === undefined) return;
        listeners.delete(look);
        unread = unread.filter((message) => message !== found);
        resolve(found);
      };
      listeners.add(look);
      look();
      void ended.then(() => reject(new Error(`the proxy ended: ${errors}`)));
    });
  const write: Raw['write'] = (message) => {
    child.stdin.write(`${typeof message === 'string' ? message : JSON.stringify(message)}\n`);
  };
  let ids = 0;
  const ask: Raw['ask'] = (method, params = {}) => {
    ids += 1;
    const id = `request-${ids}`;
    write({ jsonrpc: '2.0', id, method, params });
    return next((message) => message.id === id && message.method === undefined);
  };
  return {
    child,
    write,
    next,
    ask,
    begin: async (capabilities = {}) => {
      const clientInfo = { name: 'test', version: '1.0.0' };
      const answer = await ask('initialize', { protocolVersion: '2025-11-25', capabilities, clientInfo });
      write({ jsonrpc: '2.0', method: 'notifications/initialized' });
      return answer;
    },
    received,
    lines,
    errors: () => errors,
    end: async () => {
      child.stdin.end();
      return (await ended)[0];
    },
  };
}

/** Returns only the given variables, with nothing of this machine but PATH. */
function environment(variables: Variables): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: '/nonexistent',
    HOLDFAST_HOME: '/nonexistent/home',
    ...variables,
  };
}

/** Waits until the condition holds. */
export async function eventually(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10));
}
