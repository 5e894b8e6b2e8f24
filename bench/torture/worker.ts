/**
 * A process that keeps credentials in use, as any program does that holds a vault. The first argument is JSON
 * (`WorkerSettings`). What came of each call goes to a file, one JSON a line; no token is in it. What else it is to do, such as
 * to log out, it is told over its channel to the parent process.
 */

import { createHash } from 'node:crypto';
import { openSync, writeSync } from 'node:fs';
import http from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Secret } from '../../src/secret.ts';
import { defined } from '../../src/values/defined.ts';
import { openVault } from '../../src/vault/open.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { Dice } from './dice.ts';
import { openStore } from './open-store.ts';
import { sharedNow } from './shared-clock.ts';
import { isProtocol, type Protocol, standIn, type TokenSource } from './stand-ins/stand-ins.ts';

export interface WorkerSettings {
  /** Which worker, and the how-manyth process that it is. */
  readonly tag: string;
  readonly store: string;
  readonly protocol: Protocol | 'holdfast';
  readonly resources: readonly string[];
  /** Where a token is tried: it stands for all those resources. */
  readonly mcp: string;
  readonly leaseMs: number;
  readonly loops: number;
  readonly seed: number;
  readonly out: string;
}

/** One call: of which credential, when, and the fingerprint of the token that it gave or why it gave none. */
export interface Call {
  readonly credential: number;
  readonly begin: number;
  readonly end: number;
  readonly access?: string;
  readonly error?: string;
}

/** For so long, by the shared clock, nothing ran in this process. */
export interface Stall {
  readonly stalled: readonly [from: number, to: number];
}

/** A request was handed to the system, from that port: its fence was behind it. */
export interface Sent {
  readonly sent: number;
  readonly port: number;
}

/** What it is to do. An exported login is handed over, and imported, in the clear: that channel is no file. */
export type Command =
  | { readonly id: number; readonly kind: 'rekey' }
  | { readonly id: number; readonly kind: 'logout' | 'export'; readonly credential: number }
  | { readonly id: number; readonly kind: 'import'; readonly credential: number; readonly login: string };

export type Said =
  | { readonly id: number; readonly login: string }
  /** It ended: with an error’s code, or with what it said. */
  | { readonly id: number; readonly outcome: string; readonly code?: string };

const DEADLINE_MS = 4_000;
const OPERATION_MS = 15_000;
const TICK_MS = 20;
const STALL_MS = 150;

const settings: WorkerSettings = JSON.parse(process.argv[2] ?? '');
const file = openSync(settings.out, 'a', 0o600);
const say = (line: Call | Stall | Sent) => writeSync(file, `${JSON.stringify(line)}\n`);

// So that the server’s log tells who asked; and when its bytes left this process, after the fence.
const { request } = http;
http.request = ((url: URL, options: http.ClientRequestArgs, ...rest: []) => {
  const headers = { ...(options.headers as http.OutgoingHttpHeaders), 'x-torture-worker': settings.tag };
  return request(url, { ...options, headers }, ...rest).on('socket', (socket: Socket) => {
    const write = socket.write.bind(socket) as (...given: unknown[]) => boolean;
    socket.write = (...given: unknown[]) => {
      Reflect.deleteProperty(socket, 'write');
      const sent = sharedNow();
      const taken = write(...given);
      say({ sent, port: socket.localPort ?? 0 });
      return taken;
    };
  });
}) as typeof http.request;

let last = sharedNow();
setInterval(() => {
  const now = sharedNow();
  if (now - last > STALL_MS) say({ stalled: [last, now] });
  last = now;
}, TICK_MS).unref();

let over = false;
process.on('SIGTERM', () => {
  over = true;
});

void work();

async function work(): Promise<void> {
  const source = await open();
  await Promise.all(
    Array.from({ length: settings.loops }, (_, index) => loop(source, new Dice(settings.seed + index))),
  );
  await source.close();
  process.exit();
}

async function open(): Promise<TokenSource> {
  const { protocol, store, leaseMs } = settings;
  if (isProtocol(protocol)) return standIn(protocol, store, leaseMs);
  // A look at the store with each call: an access token that lives for less than a second is soon another’s.
  const options = { leaseMs, lookEveryMs: 100 };
  const vault = openVault(defined({ keyring: 'key-file', store: await openStore(store, options) }));
  const tasks = new Set<Promise<void>>();
  process.on('message', (command: Command) => {
    const task = carryOut(vault, command).finally(() => tasks.delete(task));
    tasks.add(task);
  });
  process.on('disconnect', () => process.exit());
  return {
    token: async (resource, refused) => {
      const { token, generation } = await vault.token(
        resource,
        defined({
          timeoutMs: DEADLINE_MS,
          rejectedGeneration: refused,
        }),
      );
      return { token: token.reveal(), generation };
    },
    close: async () => {
      await Promise.all(tasks);
      await vault.close();
    },
  };
}

async function carryOut(vault: Vault, command: Command): Promise<void> {
  const { id } = command;
  const tell = (said: Said) => new Promise<void>((told) => process.send?.(said, () => told()));
  try {
    await tell({ id, outcome: await operate(vault, command, (login) => tell({ id, login })) });
  } catch (error) {
    await tell({ id, outcome: 'failed', code: codeOf(error) });
  }
}

async function operate(
  vault: Vault,
  command: Command,
  deliver: (login: string) => Promise<void>,
): Promise<string> {
  const signal = AbortSignal.timeout(OPERATION_MS);
  if (command.kind === 'rekey') {
    const { left } = await vault.admin.rekey({ signal });
    return left.length === 0 ? 'moved' : 'left some';
  }
  const resource = settings.resources[command.credential] ?? '';
  switch (command.kind) {
    case 'logout':
      return (await vault.logout(resource, { signal })).revocation;
    case 'export':
      await vault.transfer.export(resource, {
        mode: 'move',
        signal,
        deliver: ({ json }) => deliver(json.reveal()),
      });
      return 'moved';
    case 'import':
      await vault.transfer.importExported(new Secret(command.login), { signal });
      return 'kept';
  }
}

async function loop(source: TokenSource, dice: Dice): Promise<void> {
  while (!over) {
    const credential = dice.between(0, settings.resources.length - 1);
    const got = await call(source, credential, undefined);
    // As a client of an MCP server does: a token that is refused is refreshed once.
    if (got !== undefined && dice.chance(0.2) && !(await works(got.token)))
      await call(source, credential, got.generation);
    await sleep(dice.between(5, 40));
  }
}

async function call(source: TokenSource, credential: number, refused: number | undefined) {
  const begin = sharedNow();
  try {
    const got = await source.token(settings.resources[credential] ?? '', refused);
    const access = createHash('sha256').update(got.token).digest('hex').slice(0, 16);
    say({ credential, begin, end: sharedNow(), access });
    return got;
  } catch (error) {
    say({ credential, begin, end: sharedNow(), error: codeOf(error) });
    return undefined;
  }
}

function codeOf(error: unknown): string {
  if (error instanceof Error && 'code' in error) return String(error.code);
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  return 'unknown';
}

async function works(token: string): Promise<boolean> {
  const answer = await fetch(settings.mcp, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  }).catch(() => undefined);
  await answer?.body?.cancel();
  return answer?.status !== 401;
}
