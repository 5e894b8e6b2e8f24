import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Message, MessageBus } from '@jellybrick/dbus-next';
import type { Environment } from './environment.ts';

/*
 * A connection to the session bus whose every call ends in time. The library's own calls may never settle: without a bus
 * it only emits `error`, and a stopped daemon answers nothing.
 */

/** A call that did not succeed, by its D-Bus error name. `timeout` and `disconnected` are ours. */
export class BusError extends Error {
  readonly errorName: string;

  constructor(errorName: string, message: string) {
    super(message);
    this.name = 'BusError';
    this.errorName = errorName;
  }
}

export interface BusCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string | undefined;
  readonly body?: readonly unknown[] | undefined;
}

export interface Bus {
  /** The body of the reply. Rejects with BusError. */
  call(call: BusCall): Promise<readonly unknown[]>;
  /** A D-Bus variant, as a call's body holds it. */
  variant(signature: string, value: unknown): unknown;
  close(): void;
}

/** Where the session bus is, without asking anyone; `undefined` where there is none. */
export function sessionBusAddress({ variables }: Environment): string | undefined {
  if (variables['DBUS_SESSION_BUS_ADDRESS']) return variables['DBUS_SESSION_BUS_ADDRESS'];
  const socket = variables['XDG_RUNTIME_DIR'] && join(variables['XDG_RUNTIME_DIR'], 'bus');
  return socket && existsSync(socket) ? `unix:path=${socket}` : undefined;
}

/**
 * Connects to the bus.
 *
 * @param deadlineMs for the connection, and for each call
 * @throws BusError
 */
export async function connectBus(address: string, deadlineMs: number): Promise<Bus> {
  const { sessionBus, Message, Variant } = await import('@jellybrick/dbus-next');
  const bus = sessionBus({ busAddress: address });
  let lost: (error: BusError) => void = () => {};
  const loss = new Promise<never>((_resolve, reject) => {
    lost = reject;
  });
  loss.catch(() => {
    // Whoever calls next hears of it.
  });
  // The library's types know no `error` event; its emitter has one.
  const events: NodeJS.EventEmitter = bus as never;
  events.on('error', (error: Error) => lost(new BusError('disconnected', error.message)));
  const inTime = <T>(what: Promise<T>, name: string): Promise<T> => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(
        () => reject(new BusError('timeout', `${name} had no answer in ${deadlineMs} ms`)),
        deadlineMs,
      );
    });
    return Promise.race([what, loss, late]).finally(() => clearTimeout(timer));
  };
  try {
    await inTime(new Promise<void>((resolve) => bus.once('connect', () => resolve())), 'the session bus');
  } catch (error) {
    disconnect(bus);
    throw error;
  }
  return {
    call: async ({ destination, path, interface: of, member, signature, body }) => {
      const message = new Message({
        destination,
        path,
        interface: of,
        member,
        ...(signature === undefined ? {} : { signature }),
        body: [...(body ?? [])],
      });
      let reply: Message | null;
      try {
        reply = await inTime(bus.call(message), member);
      } catch (error) {
        throw asBusError(error);
      }
      return reply?.body ?? [];
    },
    variant: (signature, value) => new Variant(signature, value),
    close: () => disconnect(bus),
  };
}

function asBusError(error: unknown): BusError {
  if (error instanceof BusError) return error;
  const type =
    error instanceof Error && 'type' in error && typeof error.type === 'string' ? error.type : 'unknown';
  return new BusError(type, error instanceof Error ? error.message : String(error));
}

function disconnect(bus: MessageBus): void {
  // The library half-closes the socket and waits for the other side, which a stopped daemon never answers; the process
  // could then not end. There is no public way to the socket.
  const { stream } = (bus as unknown as { _connection: { stream?: { destroy(): void; end(): void } } })
    ._connection;
  bus.disconnect();
  stream?.destroy();
}
