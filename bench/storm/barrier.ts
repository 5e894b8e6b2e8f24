/*
 * What a process of the storm and the one that started it say to each other. The process opens what it needs, waits,
 * asks for a token when it is told to, and uses that token at the MCP server once everyone has theirs.
 */
import { createHash } from 'node:crypto';

/** `open`, then `go`, then `check`, in each round. */
export interface Order {
  readonly order: 'open' | 'go' | 'check';
}

export interface Answer {
  /** For `go`: when it had its token or its failure, by the monotonic clock that all processes of a machine share. */
  readonly at?: string;
  /** For `check`. */
  readonly tokens?: Tokens;
  /** It could not even do its part. */
  readonly broken?: string;
}

/** What one process got, for all its callers. */
export interface Tokens {
  /** How many of its callers had a token that the MCP server took. */
  readonly valid: number;
  /** Tells tokens apart without showing them. */
  readonly fingerprints: readonly string[];
  readonly failures: readonly string[];
}

export interface Asker {
  /** Everything that is done before the barrier. */
  open(): Promise<void>;
  /** A token for each caller, or why there is none. */
  ask(): Promise<readonly (string | Error)[]>;
  close(): Promise<void>;
}

/** Does as it is told, until its parent is gone. */
export function obey(asker: Asker, resource: string): void {
  let got: readonly (string | Error)[] = [];
  const orders: Record<Order['order'], () => Promise<Answer>> = {
    open: async () => {
      await asker.open();
      return {};
    },
    go: async () => {
      got = await asker.ask();
      return { at: String(process.hrtime.bigint()) };
    },
    check: async () => {
      const tokens = await judged(got, resource);
      await asker.close();
      return { tokens };
    },
  };
  process.on('disconnect', () => process.exit());
  process.on('message', ({ order }: Order) => {
    orders[order]()
      .catch((error: unknown): Answer => ({ broken: describe(error) }))
      .then((answer) =>
        process.send?.(answer, undefined, undefined, (error: Error | null) => {
          if (error !== null) process.exit();
        }),
      )
      .catch(() => process.exit(1));
  });
}

/** Uses each token at the MCP server, which asks the authorization server whether it is good. */
export async function judged(got: readonly (string | Error)[], resource: string): Promise<Tokens> {
  const taken = new Map<string, boolean>();
  let valid = 0;
  const failures: string[] = [];
  for (const one of got) {
    if (one instanceof Error) {
      failures.push(describe(one));
      continue;
    }
    if (!taken.has(one)) taken.set(one, await accepted(resource, one));
    if (taken.get(one) === true) valid += 1;
    else failures.push('the MCP server refused the token');
  }
  return { valid, fingerprints: [...taken.keys()].map(fingerprint), failures };
}

/** Whether the MCP server lets that token in. */
export async function accepted(resource: string, token: string): Promise<boolean> {
  const response = await fetch(resource, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
  });
  await response.body?.cancel();
  return response.ok;
}

function fingerprint(token: string): string {
  return createHash('sha256').update(token).digest('hex').slice(0, 16);
}

export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return 'code' in error ? `${String(error.code)}: ${error.message}` : error.message;
}
