import type { Redis } from 'ioredis';
import { retryable, StorageFullError, StoreUnsuitableError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { EngineFinding } from '../engine/engine.ts';
import { passing } from '../engine/passing-refusal.ts';
import { replyOf } from './errors.ts';

/*
 * Checks whether a Redis server keeps what it acknowledges. By default it does not: it saves every few minutes. After a
 * crash between a refresh and the next save, it holds a refresh token that the authorization server has revoked.
 */

/** The risks that the operator allows explicitly. */
export interface Allowed {
  readonly durability: 'none' | undefined;
  readonly allowEviction: boolean;
}

/** The server's own report; a fact is `undefined` where the server does not tell. */
export interface ServerFacts {
  readonly version: readonly [number, number] | undefined;
  readonly role: string | undefined;
  /** The run id of the server, which changes with each start. */
  readonly run: string | undefined;
  readonly replicas: number;
  readonly cluster: boolean;
  readonly appendOnly: boolean | undefined;
  readonly fsync: string | undefined;
  /** Whether it stops syncing writes to the disk while it rewrites its log. */
  readonly pausesFsync: boolean;
  /** Whether its last write to the log failed. */
  readonly failing: boolean;
  readonly maxMemory: number | undefined;
  readonly policy: string | undefined;
}

/**
 * Asks a server for its facts. A refused command leaves them `undefined`.
 *
 * @throws the other errors of the server’s client
 */
export async function factsOf(node: Redis): Promise<ServerFacts> {
  const [info, config] = await Promise.all([
    node.info().then(linesOf, unlessRefused),
    node.config('GET', '*append*').then(pairsOf, unlessRefused),
  ]);
  const fact = (name: string) => info?.get(name);
  const version = /^(\d+)\.(\d+)\./.exec(fact('redis_version') ?? '');
  const enabled = fact('aof_enabled') ?? (config && (config.get('appendonly') === 'yes' ? '1' : '0'));
  return {
    version: version === null ? undefined : [Number(version[1]), Number(version[2])],
    role: fact('role'),
    run: fact('run_id'),
    replicas: Number(fact('connected_slaves') ?? 0),
    cluster: fact('cluster_enabled') === '1',
    appendOnly: enabled === undefined ? undefined : enabled === '1',
    fsync: config?.get('appendfsync'),
    pausesFsync: config?.get('no-appendfsync-on-rewrite') === 'yes',
    failing: fact('aof_last_write_status') === 'err',
    maxMemory: info && Number(fact('maxmemory') ?? 0),
    policy: fact('maxmemory_policy'),
  };
}

/**
 * Whether each write must wait for the disk, and can (WAITAOF). It must where an answer does not mean that the write is
 * on the disk. It also must where the server does not tell: operators deny CONFIG, because it would also show passwords.
 */
export function needsBarrier(facts: ServerFacts, { durability }: Allowed): boolean {
  const { version, appendOnly, fsync, cluster } = facts;
  const known = version !== undefined && (version[0] > 7 || (version[0] === 7 && version[1] >= 2));
  if (!known || appendOnly !== true || cluster) return false;
  return fsync === 'everysec' || (fsync === undefined && durability !== 'none');
}

/** A finding, and whether an error among them can pass. */
export interface RedisFinding extends EngineFinding {
  /** `replica` passes after a fail-over; `full` passes when there is room again. */
  readonly passes?: 'replica' | 'full' | undefined;
}

/** @throws StoreUnsuitableError, StorageFullError for the first finding that is an error */
export function checkSuitable(where: string, findings: readonly RedisFinding[]): void {
  const found = findings.find(({ level }) => level === 'error');
  if (found === undefined) return;
  const options = found.hint === undefined ? {} : { hint: found.hint };
  if (found.passes === 'full') {
    throw retryable(new StorageFullError(`${where} has no room: ${found.message}`, options));
  }
  const error = new StoreUnsuitableError(`${where} cannot keep records as it is: ${found.message}`, options);
  throw found.passes === 'replica' ? passing(error) : error;
}

export function findingsOf(facts: ServerFacts, allowed: Allowed): RedisFinding[] {
  const findings = [
    ...versionOf(facts),
    ...roleOf(facts),
    ...durabilityOf(facts, allowed).map((finding) => ({ ...finding, about: 'durability' as const })),
    ...evictionOf(facts, allowed),
  ];
  if (facts.cluster || facts.replicas > 0) {
    findings.push({
      level: 'warning',
      message:
        'Replicas follow later: when one takes over, writes that were acknowledged may be gone, and each such refresh token with them.',
      hint: 'Accept that, or keep logins to servers that rotate their refresh tokens in PostgreSQL.',
    });
  }
  return findings;
}

function versionOf({ version }: ServerFacts): EngineFinding[] {
  if (version === undefined || version[0] >= 5) return [];
  return [
    {
      level: 'error',
      message: `It is Redis ${version.join('.')}.`,
      hint: 'Redis 5 or later is needed, or Valkey.',
    },
  ];
}

function roleOf({ role }: ServerFacts): RedisFinding[] {
  if (role !== 'slave') return [];
  return [
    {
      level: 'error',
      message: 'It is a replica, which is read only.',
      hint: 'Connect to the primary.',
      passes: 'replica',
    },
  ];
}

function durabilityOf(facts: ServerFacts, allowed: Allowed): RedisFinding[] {
  const { appendOnly, fsync } = facts;
  const { durability } = allowed;
  if (facts.failing) {
    return [
      {
        level: 'error',
        message: 'Its last write to its disk failed.',
        hint: 'Make room there; see its log.',
        passes: 'full',
      },
    ];
  }
  if (appendOnly === undefined) {
    return [
      {
        level: 'warning',
        message: 'It does not tell whether it brings each write to its disk.',
        hint: 'See to it that it does (appendonly yes, appendfsync always), or ask whoever runs it.',
      },
    ];
  }
  if (!appendOnly || fsync === 'no') {
    const lost = appendOnly
      ? 'It leaves it to the system when a write comes to its disk (appendfsync no): a crash loses up to half a minute of logins.'
      : 'It keeps no log (appendonly no): a crash loses every login and refresh since its last snapshot.';
    return [
      {
        level: durability === 'none' ? 'warning' : 'error',
        message: durability === 'none' ? `${lost} That was allowed by name (durability=none).` : lost,
        hint: 'Set `appendonly yes` and `appendfsync always` in its configuration, or allow it with durability=none where logins may be lost.',
      },
    ];
  }
  if (fsync === undefined && needsBarrier(facts, allowed)) {
    return [{ level: 'ok', message: 'Every claim and write waits until it is on its disk (WAITAOF).' }];
  }
  if (fsync === undefined) {
    return [
      {
        level: 'warning',
        message: 'It keeps a log, but does not tell how soon a write is on its disk.',
        hint: 'Set `appendfsync always`, or ask its operator to. From Redis 7.2 on, Holdfast waits for the disk (docs/redis.md).',
      },
    ];
  }
  if (fsync !== 'always') {
    return [
      {
        level: 'warning',
        message: needsBarrier(facts, allowed)
          ? 'It writes to its disk each second (appendfsync everysec): every claim and write waits for that.'
          : 'It writes to its disk each second (appendfsync everysec): a crash loses the logins and refreshes of that second.',
        hint: 'Set `appendfsync always`.',
      },
    ];
  }
  if (facts.pausesFsync) {
    return [
      {
        level: 'warning',
        message: 'While it rewrites its log it does not wait for its disk (no-appendfsync-on-rewrite yes).',
        hint: 'Set `no-appendfsync-on-rewrite no`.',
      },
    ];
  }
  return [{ level: 'ok', message: 'Each write is on its disk when it answers (appendfsync always).' }];
}

function evictionOf({ maxMemory, policy }: ServerFacts, { allowEviction }: Allowed): EngineFinding[] {
  if (maxMemory === undefined) {
    return [
      {
        level: 'warning',
        message: 'It does not tell whether it throws keys away when its memory is full.',
        hint: 'See to it that it does not (maxmemory-policy noeviction).',
      },
    ];
  }
  if (maxMemory === 0 || policy === 'noeviction' || policy === undefined) {
    return [{ level: 'ok', message: 'It throws no key away when its memory is full.' }];
  }
  const said = `maxmemory-policy ${quote(policy, 40).slice(1, -1)}`;
  const hint = 'Set `maxmemory-policy noeviction`, or use a server of its own.';
  if (!policy.startsWith('allkeys-')) {
    return [
      {
        level: 'warning',
        message: `When its memory is full it throws away keys that have an end (${said}). Those of Holdfast have none.`,
        hint,
      },
    ];
  }
  const message = `When its memory is full it throws keys away, logins among them (${said}).`;
  return [
    allowEviction
      ? { level: 'warning', message: `${message} That was allowed by name (eviction=allow).`, hint }
      : { level: 'error', message, hint: `${hint} eviction=allow accepts it where logins may be lost.` },
  ];
}

function unlessRefused(error: unknown): undefined {
  const reply = replyOf(error);
  if (reply === undefined || /^(LOADING|MASTERDOWN|CLUSTERDOWN|NOAUTH|BUSY)\b/.test(reply)) throw error;
  return undefined;
}

function linesOf(text: string): Map<string, string> {
  const lines = text.split('\r\n').flatMap((line) => {
    const colon = line.indexOf(':');
    return colon < 1 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const];
  });
  return new Map(lines);
}

/** Parses a list of names and values; some client settings return an object instead. */
function pairsOf(answer: unknown): Map<string, string> {
  if (!Array.isArray(answer)) return new Map(Object.entries(Object(answer) as Record<string, string>));
  return new Map(
    answer.flatMap((name, at) => (at % 2 === 0 ? [[String(name), String(answer[at + 1])] as const] : [])),
  );
}
