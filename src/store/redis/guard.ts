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
  /** What the name of every key begins with. */
  readonly prefix: string;
  readonly allowed: Allowed;
  /** How long one question may take, in milliseconds. */
  readonly timeoutMs: number;
  /** What somebody on the way there could do: read all, or stand between, as no certificate is checked; else nothing. */
  readonly exposed: 'plain' | 'unchecked' | undefined;
}

/** Lets nothing be written to a server that cannot keep it, and nothing be called written that is not. */
export class RedisGuard {
  readonly #connection: RedisConnection;
  readonly #options: GuardOptions;
  #checked: { readonly session: number; readonly outcome: Promise<void> } | undefined;
  #barrier: Barrier | undefined;
  /** The runs of the servers that were examined. */
  #runs: ReadonlySet<string> = new Set();

  constructor(connection: RedisConnection, options: GuardOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /**
   * Before a write. Asks once for each connection: after a fail-over it may be another server.
   *
   * @throws StoreUnsuitableError
   */
  admit(): Promise<void> {
    if (this.#checked === undefined || this.#checked.session !== this.#connection.session) {
      const checked = { session: this.#connection.session, outcome: this.#check() };
      this.#checked = checked;
      checked.outcome.then(
        () => {
          // The first check has made the connection, and so the session, that it holds for.
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
   * A server of that run has just granted something. Where that one was not examined, as after a fail-over behind a client
   * or an address that does not tell, it is now.
   *
   * @throws StoreUnsuitableError
   */
  async recognise(run: string | undefined): Promise<void> {
    if (!run || this.#runs.size === 0 || this.#runs.has(run)) return;
    this.#checked = undefined;
    await this.admit();
  }

  /** After a write: until it is on the disk, where that takes a question of its own. @throws StoreUnreachableError */
  async settle(): Promise<void> {
    try {
      await this.#barrier?.pass();
    } catch (error) {
      // Whatever the reason is: what was written may last.
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
    // The address may lead to another server by now, and the connection to one that was demoted.
    if (findings.some(({ passes }) => passes === 'replica')) this.#connection.renew();
    checkSuitable(this.#connection.where, findings);
    // Who may not ask for it must learn that before a write, not after.
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
    // The nodes of a cluster mostly say the same.
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
