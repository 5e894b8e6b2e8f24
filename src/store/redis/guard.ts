import { HoldfastError, StoreUnreachableError } from '../../errors.ts';
import type { EngineFinding } from '../engine/engine.ts';
import { Barrier } from './barrier.ts';
import type { RedisConnection } from './connection.ts';
import { RUN_KNOWN } from './scripts.ts';
import {
  type Allowed,
  checkSuitable,
  factsOf,
  findingsOf,
  needsBarrier,
  type RedisFinding,
  type ServerFacts,
} from './suitability.ts';

export interface GuardOptions {
  /** The prefix of every key. */
  readonly prefix: string;
  readonly allowed: Allowed;
  /** Time limit for one request, in milliseconds. */
  readonly timeoutMs: number;
  /**
   * The power of an attacker on the network: to read everything (`plain`), or to impersonate the server, because no
   * certificate is checked (`unchecked`). Otherwise `undefined`.
   */
  readonly exposed: 'plain' | 'unchecked' | undefined;
}

/** Refuses writes to a server that cannot keep them, and acknowledges only durable writes. */
export class RedisGuard {
  readonly #connection: RedisConnection;
  readonly #options: GuardOptions;
  #checked: { readonly session: number; readonly outcome: Promise<void> } | undefined;
  #barrier: Barrier | undefined;
  /** The run ids of the servers that were examined. */
  #runs: ReadonlySet<string> = new Set();

  constructor(connection: RedisConnection, options: GuardOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /**
   * Call this before a write. It checks the server once per connection: after a fail-over it may be another server.
   *
   * @throws StoreUnsuitableError
   */
  admit(): Promise<void> {
    if (this.#checked === undefined || this.#checked.session !== this.#connection.session) {
      const checked = { session: this.#connection.session, outcome: this.#check() };
      this.#checked = checked;
      checked.outcome.then(
        () => {
          // The first check has opened the connection, so its session number is known only now.
          if (this.#checked === checked) this.#checked = { ...checked, session: this.#connection.session };
        },
        () => {
          if (this.#checked === checked) this.#checked = undefined;
        },
      );
    }
    return this.#checked.outcome;
  }

  /**
   * Call this with the run id of the server that has just granted a claim. It checks a server that was not examined
   * yet, as after a fail-over behind a client or an address that does not report it.
   *
   * @throws StoreUnsuitableError
   */
  async recognise(run: string | undefined): Promise<void> {
    if (!run || this.#runs.size === 0 || this.#runs.has(run)) return;
    this.#checked = undefined;
    await this.admit();
  }

  /**
   * Call this after a write. It waits until the write is on the disk, where that takes a request of its own.
   *
   * @throws StoreUnreachableError
   */
  async settle(): Promise<void> {
    try {
      await this.#barrier?.pass();
    } catch (error) {
      // Whatever the reason, the write may still last, so the outcome is unknown.
      if (!(error instanceof HoldfastError) || error instanceof StoreUnreachableError) throw error;
      throw new StoreUnreachableError(error.message, {
        cause: error,
        ...(error.hint && { hint: error.hint }),
      });
    }
  }

  async examine(): Promise<readonly EngineFinding[]> {
    try {
      return [
        ...(await this.#findings()),
        ...(await this.#runKnown()),
        ...this.#secrecy(),
        await this.#clock(),
      ];
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return [{ level: 'error', message: error.message, hint: error.hint }];
    }
  }

  close(): void {
    this.#barrier?.close();
  }

  async #check(): Promise<void> {
    const findings = await this.#findings();
    // The address may lead to another server by now, while this connection still leads to the demoted one.
    if (findings.some(({ passes }) => passes === 'replica')) this.#connection.renew();
    checkSuitable(this.#connection.where, findings);
    // A user that may not run WAITAOF must learn that before a write, not after.
    await this.#barrier?.pass();
  }

  async #findings(): Promise<RedisFinding[]> {
    const facts: ServerFacts[] = [];
    for (const node of await this.#connection.masters()) {
      facts.push(await this.#connection.run(() => factsOf(node)));
    }
    if (!this.#connection.isCluster && facts.some((one) => needsBarrier(one, this.#options.allowed))) {
      const key = `${this.#options.prefix}:barrier`;
      this.#barrier ??= new Barrier(this.#connection.duplicate(), key, this.#options.timeoutMs);
    } else {
      this.#barrier?.close();
      this.#barrier = undefined;
    }
    this.#runs = new Set(facts.flatMap(({ run }) => run ?? []));
    // The nodes of a cluster mostly report the same findings.
    const all = facts.flatMap((one) => findingsOf(one, this.#options.allowed));
    return [...new Map(all.map((finding) => [finding.message, finding])).values()];
  }

  async #runKnown(): Promise<EngineFinding[]> {
    if ((await this.#connection.call(RUN_KNOWN, `${this.#options.prefix}:barrier`, [])) === '1') return [];
    return [
      {
        level: 'warning',
        message:
          'Scripts may not ask it for INFO: whether it was started anew is not known, and a refresh that was under way then may be sent twice.',
        hint: 'Allow INFO to this user (docs/redis.md).',
      },
    ];
  }

  #secrecy(): EngineFinding[] {
    const { exposed } = this.#options;
    if (exposed === undefined) return [];
    if (exposed === 'plain') {
      return [
        {
          level: 'warning',
          message:
            'What goes there is not encrypted, the password included. Records are sealed all the same.',
          hint: 'Use rediss://.',
        },
      ];
    }
    return [
      {
        level: 'warning',
        message:
          'The certificate of the server is not checked: who stands between learns the password. Records are sealed all the same.',
        hint: 'Take away rejectUnauthorized: false and NODE_TLS_REJECT_UNAUTHORIZED; name the authority that signed it: export NODE_EXTRA_CA_CERTS=/path/to/ca.pem',
      },
    ];
  }

  async #clock(): Promise<EngineFinding> {
    const ahead = Date.now() - (await this.#connection.now());
    const off = Math.round(Math.abs(ahead) / 1000);
    return {
      level: 'ok',
      message:
        off < 2
          ? 'Its clock and that of this machine agree.'
          : `Its clock is ${off} s ${ahead > 0 ? 'behind' : 'ahead of'} that of this machine. Only its own counts.`,
    };
  }
}
