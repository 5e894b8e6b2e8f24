import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Environment } from '../environment.ts';
import { OtherUsersSocketError } from '../network/unix-peer.ts';
import { connectOwnSocket, type SocketAddress } from '../network/unix-socket.ts';
import {
  decodeMessage,
  ERROR,
  encodeCall,
  HEADER_BYTES,
  type IncomingMessage,
  METHOD_RETURN,
  type MethodCall,
  messageLength,
} from './message.ts';

/*
 * A connection to the session bus. Every call has a deadline, since a stopped daemon answers nothing, and nothing stays
 * open after `close`. Holdfast has its own implementation, since each start of `holdfast token` pays for it. A library
 * cost three times as much as Node itself.
 */

/**
 * A failed call, with its D-Bus error name. `timeout`, `disconnected`, `foreign` and `nonsense` are Holdfast's own
 * names.
 */
export class BusError extends Error {
  readonly errorName: string;

  constructor(errorName: string, message: string) {
    super(message);
    this.name = 'BusError';
    this.errorName = errorName;
  }
}

/** A time limit, on the clock of `performance.now()`. */
export type Deadline = number;

export function deadlineIn(milliseconds: number): Deadline {
  return performance.now() + milliseconds;
}

export interface Bus {
  /** Sends the call and returns the body of the reply. Rejects with BusError. */
  call(call: MethodCall, deadline: Deadline): Promise<readonly unknown[]>;
  close(): void;
}

const BUS = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
};

/** Size limit of the greeting, which is two short lines. */
const MAX_GREETING_BYTES = 4096;

/** Returns the session bus's address without contacting it; `undefined` if no bus is known. */
export function sessionBusAddress({ variables }: Environment): string | undefined {
  if (variables['DBUS_SESSION_BUS_ADDRESS']) return variables['DBUS_SESSION_BUS_ADDRESS'];
  const socket = variables['XDG_RUNTIME_DIR'] && join(variables['XDG_RUNTIME_DIR'], 'bus');
  return socket && existsSync(socket) ? `unix:path=${socket}` : undefined;
}

/**
 * Connects to the bus if this user or root runs it: the user who runs a bus can read its messages.
 *
 * @param address as in DBUS_SESSION_BUS_ADDRESS: several addresses, tried in order until one answers
 * @throws BusError
 */
export async function connectBus(address: string, deadline: Deadline): Promise<Bus> {
  let failure = new BusError('disconnected', 'the address names no Unix socket');
  for (const socket of socketAddresses(address)) {
    let connection: Connection;
    try {
      connection = new Connection(await connectOwnSocket(socket));
    } catch (error) {
      const name = error instanceof OtherUsersSocketError ? 'foreign' : 'disconnected';
      failure = new BusError(name, error instanceof Error ? error.message : String(error));
      continue;
    }
    try {
      await connection.start(deadline);
      return connection;
    } catch (error) {
      connection.close();
      if (!(error instanceof BusError)) throw error;
      failure = error;
    }
  }
  throw failure;
}

/** Tells whether the bus can start a service of that name. Starts nothing. */
export async function canBeStarted(bus: Bus, name: string, deadline: Deadline): Promise<boolean> {
  const [names] = await bus.call({ ...BUS, member: 'ListActivatableNames' }, deadline);
  return Array.isArray(names) && names.includes(name);
}

/** Parses addresses such as `unix:path=/run/x;unix:abstract=/tmp/y`. */
function socketAddresses(address: string): SocketAddress[] {
  return address.split(';').flatMap((one) => {
    if (!one.startsWith('unix:')) return [];
    for (const pair of one.slice('unix:'.length).split(',')) {
      const [, key, value = ''] = /^(path|abstract)=(.*)$/s.exec(pair) ?? [];
      if (key !== undefined) return [{ [key]: unescaped(value) }];
    }
    return [];
  });
}

/** Decodes percent signs followed by two hex digits, each pair one byte of UTF-8. */
function unescaped(text: string): string {
  const bytes = Buffer.from(text, 'utf8').toString('latin1');
  const plain = bytes.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(plain, 'latin1').toString('utf8');
}

interface Pending {
  resolve(body: readonly unknown[]): void;
  reject(error: BusError): void;
}

class Connection implements Bus {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #received: Buffer = Buffer.alloc(0);
  #authenticated: Pending | undefined;
  #lost: BusError | undefined;
  #serial = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#socket.on('data', (chunk) => this.#receive(chunk));
    this.#socket.on('error', (error) => this.#lose(new BusError('disconnected', error.message)));
    this.#socket.on('close', () => this.#lose(new BusError('disconnected', 'the bus closed the connection')));
  }

  /**
   * Authenticates without a user id. The bus then uses the id that the kernel reports, which differs in a user
   * namespace.
   */
  async start(deadline: Deadline): Promise<void> {
    await this.#inTime('the session bus', deadline, (pending) => {
      this.#authenticated = pending;
      this.#socket.write('\0AUTH EXTERNAL\r\nDATA\r\n');
    });
    this.#socket.write('BEGIN\r\n');
    await this.call({ ...BUS, member: 'Hello' }, deadline);
  }

  call(call: MethodCall, deadline: Deadline): Promise<readonly unknown[]> {
    this.#serial += 1;
    const serial = this.#serial;
    return this.#inTime(call.member, deadline, (pending) => {
      this.#pending.set(serial, pending);
      this.#socket.write(encodeCall(call, serial));
    }).finally(() => this.#pending.delete(serial));
  }

  close(): void {
    this.#lose(new BusError('disconnected', 'the connection is closed'));
    // Destroyed, not half-closed: a stopped daemon never closes its side, and the process could not end.
    this.#socket.destroy();
  }

  async #inTime(
    what: string,
    deadline: Deadline,
    begin: (pending: Pending) => void,
  ): Promise<readonly unknown[]> {
    if (this.#lost !== undefined) throw this.#lost;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<readonly unknown[]>((resolve, reject) => {
        const late = () => reject(new BusError('timeout', `${what} had no answer in time`));
        timer = setTimeout(late, Math.max(0, deadline - performance.now()));
        begin({ resolve, reject });
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #receive(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    if (this.#authenticated !== undefined) this.#authenticate(this.#authenticated);
    else this.#readMessages();
  }

  /**
   * Reads the bus's answer. The bus asks for an identity (`DATA`), gets an empty one, and replies `OK` or `REJECTED`.
   */
  #authenticate(waiting: Pending): void {
    const lines = this.#received.toString('latin1').split('\r\n').slice(0, -1);
    const answer = lines.find((line) => !/^DATA *$/.test(line));
    if (answer === undefined && this.#received.length < MAX_GREETING_BYTES) return;
    this.#authenticated = undefined;
    this.#received = Buffer.alloc(0);
    if (answer?.startsWith('OK ')) waiting.resolve([]);
    else waiting.reject(new BusError('AuthFailed', 'the bus does not let this user in'));
  }

  #readMessages(): void {
    try {
      while (this.#received.length >= HEADER_BYTES) {
        const length = messageLength(this.#received);
        if (this.#received.length < length) return;
        const message = decodeMessage(this.#received.subarray(0, length));
        this.#received = this.#received.subarray(length);
        this.#settle(message);
      }
    } catch (error) {
      // The start of the next message is unknown now.
      const why = error instanceof Error ? error.message : String(error);
      this.#lose(new BusError('nonsense', `the bus sent what is no message: ${why}`));
      this.#socket.destroy();
    }
  }

  #settle({ type, replySerial, errorName, body }: IncomingMessage): void {
    const pending = replySerial === undefined ? undefined : this.#pending.get(replySerial);
    if (type === METHOD_RETURN) pending?.resolve(body);
    if (type === ERROR) {
      const [message] = body;
      pending?.reject(new BusError(errorName ?? 'unknown', typeof message === 'string' ? message : ''));
    }
  }

  #lose(error: BusError): void {
    this.#lost ??= error;
    this.#authenticated?.reject(this.#lost);
    for (const pending of this.#pending.values()) pending.reject(this.#lost);
  }
}
