import { type AddressInfo, createServer, connect as dial, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Connection {
  readonly near: Socket;
  readonly far: Socket;
  /** Of this connection alone: the answer is thrown away, or ends in the middle. */
  answers: 'whole' | 'dropped' | 'half';
}

interface Partition {
  whole: Promise<void> | undefined;
  heal: () => void;
}

/** A TCP proxy that does what networks do. All faults can be set at any time, and hold for the connections there are. */
export class TcpProxy {
  readonly port: number;
  /** Bytes arrive so much later, in milliseconds. */
  delayMs = 0;
  /** What comes back is lost, and the connection with it. */
  losesAnswers = false;
  readonly #server: Server;
  readonly #open: Set<Connection>;
  readonly #partition: Partition;

  private constructor(server: Server, open: Set<Connection>, partition: Partition) {
    this.#server = server;
    this.#open = open;
    this.#partition = partition;
    this.port = (server.address() as AddressInfo).port;
  }

  /**
   * @param target the port behind it
   * @param greet may decide of a new connection; `false` closes it before anything goes through
   */
  static async start(
    target: number,
    greet: (connection: Connection) => boolean = () => true,
  ): Promise<TcpProxy> {
    const open = new Set<Connection>();
    const partition: Partition = { whole: undefined, heal: () => {} };
    // It stays a client’s connection after the client has said its last word: that is what a half-closed one is.
    const server = createServer({ allowHalfOpen: true }, (near) => {
      const far = dial({ port: target, host: '127.0.0.1', allowHalfOpen: true });
      const connection: Connection = { near, far, answers: 'whole' };
      open.add(connection);
      for (const socket of [near, far]) {
        socket.on('error', () => {});
        socket.on('close', () => {
          open.delete(connection);
          near.destroy();
          far.destroy();
        });
      }
      if (greet(connection)) proxy.#join(connection);
      else near.destroy();
    });
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    const proxy = new TcpProxy(server, open, partition);
    return proxy;
  }

  /** Every connection breaks. */
  cut(): void {
    for (const { near, far } of this.#open) {
      near.destroy();
      far.destroy();
    }
  }

  /** The far end hears the last word of the near one, which has said none. */
  halfClose(): void {
    for (const { far } of this.#open) far.end();
  }

  /** Nothing goes through, old connections and new, until it is healed; then what was sent arrives. */
  partition(): void {
    this.#partition.whole ??= new Promise((healed) => {
      this.#partition.heal = healed;
    });
  }

  heal(): void {
    this.#partition.whole = undefined;
    this.#partition.heal();
  }

  async close(): Promise<void> {
    this.heal();
    this.cut();
    await new Promise<void>((closed) => this.#server.close(() => closed()));
  }

  #join(connection: Connection): void {
    const { near, far } = connection;
    this.#pass(near, far, (bytes) => bytes);
    this.#pass(far, near, (bytes) => {
      if (this.losesAnswers || connection.answers === 'dropped') {
        near.destroy();
        return undefined;
      }
      if (connection.answers === 'half') {
        near.end(bytes.subarray(0, Math.floor(bytes.length / 2)));
        return undefined;
      }
      return bytes;
    });
  }

  /** In order, whatever delays there are. */
  #pass(from: Socket, to: Socket, change: (bytes: Buffer) => Buffer | undefined): void {
    let before: Promise<unknown> = Promise.resolve();
    const then = (step: () => void) => {
      before = before.then(async () => {
        if (this.delayMs > 0) await sleep(this.delayMs);
        await this.#partition.whole;
        step();
      });
    };
    from.on('data', (bytes) =>
      then(() => {
        const changed = change(bytes);
        if (changed !== undefined && to.writable) to.write(changed);
      }),
    );
    from.on('end', () => then(() => to.end()));
  }
}
