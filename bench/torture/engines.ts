import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WORKERS } from './plan.ts';
import { TcpProxy } from './tcp-proxy.ts';

export const ENGINES = ['directory', 'postgres', 'redis'] as const;
export type EngineName = (typeof ENGINES)[number];

/** What the credentials are in, and the ways there. */
export interface RunningEngine {
  readonly name: EngineName;
  /** For the harness itself, which no fault meets but a crash. */
  readonly url: string;
  readonly urlOf: (worker: number) => string;
  /** `HOLDFAST_HOME` of that worker. */
  readonly homeOf: (worker: number) => string;
  readonly keyFile: string;
  /** The network of each worker to the engine. */
  readonly proxies: readonly TcpProxy[];
  /** What is there must hold no token. */
  readonly places: readonly string[];
  readonly served: Served | undefined;
  close(): Promise<void>;
}

/** An engine and its replica. */
export interface Served {
  /** Leads to whichever of the two is the engine now. */
  readonly url: string;
  /** What every worker talks to: the engine, or what stands before it. */
  readonly front: number;
  readonly places: readonly string[];
  /** Dies as with the power. */
  crash(): Promise<void>;
  start(): Promise<void>;
  /**
   * The engine dies, and its replica takes its place without what was written in the last milliseconds.
   *
   * @param lost called when the replica gets nothing more
   * @param down called when the engine dies
   * @returns whether there was a replica that could
   */
  failOver(lagMs: number, lost: () => void, down: () => void): Promise<boolean>;
  /** The clock is set by so much, as far as what is stored can tell: all of its times are that much older. */
  setClock(byMs: number): Promise<void>;
  close(): Promise<void>;
}

/** @param directory of this run’s own */
export async function startEngine(name: EngineName, directory: string): Promise<RunningEngine> {
  const keyFile = join(directory, 'sealing-key');
  await writeFile(keyFile, randomBytes(32).toString('base64url'), { mode: 0o600 });
  const shared = join(directory, 'home');
  if (name === 'directory') {
    return {
      name,
      keyFile,
      url: 'directory:',
      urlOf: () => 'directory:',
      homeOf: () => shared,
      proxies: [],
      places: [shared],
      served: undefined,
      close: async () => {},
    };
  }
  const served =
    name === 'postgres'
      ? await (await import('./postgres-pair.ts')).servePostgres()
      : await (await import('./redis-pair.ts')).serveRedis();
  const proxies = await Promise.all(Array.from({ length: WORKERS }, () => TcpProxy.start(served.front)));
  const homes = join(directory, 'homes');
  await mkdir(homes, { mode: 0o700 });
  return {
    name,
    keyFile,
    served,
    url: served.url,
    urlOf: (worker) => {
      const url = new URL(served.url);
      url.port = String(proxies[worker]?.port);
      return url.href;
    },
    homeOf: (worker) => join(homes, String(worker)),
    proxies,
    places: [homes, ...served.places],
    close: async () => {
      await Promise.all(proxies.map((proxy) => proxy.close()));
      await served.close();
    },
  };
}
