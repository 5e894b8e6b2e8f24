import type { Cluster, Redis, RedisOptions } from 'ioredis';
import { InvalidArgumentError, StoreUnreachableError } from '../../errors.ts';
import { passing } from '../engine/passing-refusal.ts';
import type { RedisAddress } from './address.ts';
import {
  hasNoConnection,
  isUnknownScript,
  leadsElsewhere,
  redisError,
  replyOf,
  saysNoReason,
  UNREACHABLE_HINT,
} from './errors.ts';
import type { Script } from './scripts.ts';

export type RedisClient = Redis | Cluster;

/** The part of `ioredis` that is used here. */
export type Package = Pick<typeof import('ioredis'), 'Cluster' | 'Redis'>;

type Tls = RedisOptions['tls'];

/** The longest pause before a reconnect, in milliseconds. */
const LONGEST_PAUSE_MS = 500;

/*
 * ioredis queues nothing without a connection, and sends nothing twice. The caller hears of the failure at once, and
 * knows better than a queue what is still worth sending.
 */
const OWN = {
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  enableReadyCheck: false,
  disableClientInfo: true,
  protocol: 2,
  retryStrategy: (times: number) =>
    Math.min(25 * 2 ** Math.min(times, 10), LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2),
} satisfies RedisOptions;

/** A timer that fires this much late shows that the process did not get to run, in milliseconds. */
const STARVED_MS = 250;

/** The name that an operator sees in CLIENT LIST. */
const NAME = 'holdfast';

/** The number of connections that each client has made, and their listeners. Several stores may share a client. */
const SESSIONS = new WeakMap<RedisClient, { count: number; readonly listeners: Set<() => void> }>();

/** A connection to Redis on which every request has a time limit, and every failure becomes a HoldfastError. */
export class RedisConnection {
  readonly where: string;
  readonly isCluster: boolean;
  readonly #client: RedisClient;
  readonly #own: boolean;
  readonly #timeoutMs: number;
  readonly #waiting = new Set<(error?: Error) => void>();
  #cause: Error | undefined;
  /** Whether the server has answered on the current connection. */
  #serves = false;
  /** Whether the current connection is being replaced: its end is then no failure. */
  #renewing = false;
  #closed = false;
  #forget: () => void = () => {};

  private constructor(client: RedisClient, where: string, own: boolean, timeoutMs: number) {
    this.#client = client;
    this.where = where;
    this.isCluster = client.isCluster;
    this.#own = own;
    this.#timeoutMs = timeoutMs;
    if (!SESSIONS.has(client)) {
      const session = { count: 0, listeners: new Set<() => void>() };
      SESSIONS.set(client, session);
      const another = () => {
        session.count += 1;
        if (session.count > 1) for (const listener of session.listeners) listener();
      };
      client.on('ready', another);
      client.on('+node', another);
    }
    if (!own) return;
    client.on('ready', () => {
      // A server with no connection left answers the first command with that error, and hangs up. The error is lost if
      // more is sent before it is read.
      const named = client.isCluster ? Promise.resolve() : (client as Redis).client('SETNAME', NAME);
      void named
        .then(
          () => undefined,
          (error: Error) => (replyOf(error) === undefined || hasNoConnection(error) ? error : undefined),
        )
        .then((error) => {
          // The error may have arrived before any command was sent.
          if (error === undefined || !hasNoConnection(this.#cause)) this.#cause = error;
          this.#serves = error === undefined;
          this.#settled(this.#cause);
        });
    });
    // Without a listener, ioredis prints errors. The connection closes right afterwards; the cause is kept for its
    // callers.
    client.on('error', (error: Error) => {
      this.#cause = error;
      this.#settled(error);
    });
    client.on('close', () => {
      this.#serves = false;
      const renewed = this.#renewing && !this.#closed;
      this.#renewing = false;
      if (!renewed) this.#settled(this.#cause ?? new Error('The connection was closed.'));
    });
  }

  /** @throws InvalidArgumentError when `ioredis` is not installed */
  static async open(
    address: RedisAddress,
    tls: Tls,
    timeoutMs: number,
    load: () => Promise<Package>,
  ): Promise<RedisConnection> {
    const { Cluster, Redis } = await loaded(load);
    const { host, port, username, password, db } = address;
    const options = {
      ...OWN,
      connectTimeout: timeoutMs,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password: password.reveal() }),
      ...(address.tls && { tls: tls ?? {} }),
    };
    const client = address.cluster
      ? new Cluster([{ host, port }], {
          lazyConnect: true,
          enableOfflineQueue: false,
          slotsRefreshTimeout: timeoutMs,
          redisOptions: { ...options, connectionName: NAME },
        })
      : new Redis({ ...options, host, port, db });
    return new RedisConnection(client, `Redis at ${address.shown}`, true, timeoutMs);
  }

  /** @throws InvalidArgumentError for a client that changes the names of keys */
  static given(client: RedisClient, timeoutMs: number): RedisConnection {
    if (client.options.keyPrefix) {
      throw new InvalidArgumentError(
        'The ioredis client has a keyPrefix, by which a store cannot list its keys.',
        {
          hint: 'Pass a client without one, and give the store its own `prefix`.',
        },
      );
    }
    return new RedisConnection(client, 'Redis', false, timeoutMs);
  }

  /** Opens another connection to the same server. The caller closes the duplicate. Not for a cluster. */
  duplicate(): RedisConnection {
    const client = (this.#client as Redis).duplicate({ ...OWN, connectTimeout: this.#timeoutMs });
    return new RedisConnection(client, this.where, true, this.#timeoutMs);
  }

  /**
   * Grows with each new connection. It invalidates cached facts about the server: the next one may be another server.
   */
  get session(): number {
    return SESSIONS.get(this.#client)?.count ?? 0;
  }

  /** Calls the listener on each new connection except the first. */
  onBroken(listener: () => void): void {
    const listeners = SESSIONS.get(this.#client)?.listeners;
    listeners?.add(listener);
    this.#forget = () => listeners?.delete(listener);
  }

  /** Runs the script; sends its text only to a server that has not seen it. */
  call(script: Script, key: string, args: readonly string[]): Promise<unknown> {
    return this.run(async (client) => {
      try {
        return await client.evalsha(script.sha, 1, key, ...args);
      } catch (error) {
        if (!isUnknownScript(error)) throw error;
        return client.eval(script.text, 1, key, ...args);
      }
    });
  }

  /** Returns every server that holds a part of the keys. */
  async masters(): Promise<Redis[]> {
    return this.run(async (client) => {
      if (!client.isCluster) return [client as Redis];
      const nodes = (client as Cluster).nodes('master');
      if (nodes.length === 0) throw new Error('No node of the cluster is known.');
      return nodes;
    });
  }

  /** Returns milliseconds since the epoch, by the server’s clock; in a cluster, by the clock of one of its nodes. */
  async now(): Promise<number> {
    const [node] = await this.masters();
    const time = await this.run(async () => node?.time());
    return Math.floor(Number(time?.[0]) * 1000 + Number(time?.[1]) / 1000);
  }

  /** @throws StoreUnreachableError, StoreDeniedError, StoreUnsuitableError, StorageFullError */
  async run<T>(step: (client: RedisClient) => Promise<T>): Promise<T> {
    try {
      return await this.#within(this.#ready().then(() => step(this.#client)));
    } catch (error) {
      if (leadsElsewhere(error)) this.renew();
      throw redisError(saysNoReason(error) ? (this.#cause ?? error) : error, this.where);
    }
  }

  /** Replaces our own connection: it may lead to a server that another one has taken over from. */
  renew(): void {
    const open = ['ready', 'connect'].includes(this.#client.status);
    if (!this.#own || this.#closed || !open) return;
    // The client's status stays "ready" until its socket has closed.
    this.#serves = false;
    this.#renewing = true;
    this.#client.disconnect(true);
  }

  close(): void {
    this.#closed = true;
    this.#forget();
    if (this.#own) this.#client.disconnect();
  }

  async #within<T>(step: Promise<T>): Promise<T> {
    const begin = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        // A silent connection may be dead although no error has arrived.
        this.renew();
        if (hasNoConnection(this.#cause)) return reject(redisError(this.#cause, this.where));
        const error = new StoreUnreachableError(
          `${this.where} did not answer within ${this.#timeoutMs} ms.`,
          { hint: UNREACHABLE_HINT },
        );
        // If this process itself did not get to run, the delay says nothing about the server.
        const isStarved = performance.now() - begin > this.#timeoutMs + STARVED_MS;
        return reject(isStarved ? passing(error) : error);
      }, this.#timeoutMs);
    });
    try {
      return await Promise.race([step, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #ready(): Promise<void> {
    if (this.#closed)
      throw new StoreUnreachableError('The Redis store was closed.', { hint: 'Open it again.' });
    const client = this.#client;
    if (!this.#own || (client.status === 'ready' && this.#serves)) return;
    await new Promise<void>((resolve, reject) => {
      this.#waiting.add((error) => (error === undefined ? resolve() : reject(error)));
      // The listeners in the constructor report the result.
      if (['wait', 'end'].includes(client.status)) client.connect().catch(() => {});
    });
  }

  /** Tells everyone who waits for a connection the result. */
  #settled(error?: Error): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const tell of waiting) tell(error);
  }
}

async function loaded(load: () => Promise<Package>): Promise<Package> {
  try {
    return await load();
  } catch (cause) {
    throw new InvalidArgumentError('The package ioredis, which the Redis store needs, cannot be loaded.', {
      cause,
      hint: 'npm install ioredis',
    });
  }
}
