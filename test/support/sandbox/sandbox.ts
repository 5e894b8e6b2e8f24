import { spawnSync } from 'node:child_process';
import { lstatSync, readlinkSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { processEnvironment } from '../../../src/system/environment.ts';
import { layoutOf } from '../../../src/system/files/paths.ts';
import { bundled } from '../homes/bundle.ts';
import { type Home, temporaryDirectory } from '../homes/home.ts';
import { type Running, start } from '../processes/process.ts';
import { requirement } from '../requirement.ts';
import type { Servers } from '../servers/servers.ts';
import { connecting } from './sandbox-bridge.mjs';
import { shellWord, type Terminal, terminal } from './sandbox-terminal.ts';

/*
 * A typical sandbox (bubblewrap): an ordinary user without an entry in passwd, in its own user, PID, IPC and network
 * namespaces; a read-only root; no display, no D-Bus, no environment, no /tmp; and one writable volume at /volume. It
 * reaches the test's servers through a bridge.
 */

/** The files that Node needs below a root, and nothing else. */
const SYSTEM = ['/bin', '/lib', '/lib64'].flatMap((path) => {
  const entry = lstatSync(path, { throwIfNoEntry: false });
  if (entry === undefined) return [];
  return entry.isSymbolicLink() ? ['--symlink', readlinkSync(path), path] : ['--ro-bind', path, path];
});

const NAMESPACES = ['--unshare-all', '--unshare-user', '--uid', '1000', '--gid', '1000', '--die-with-parent'];

/** bwrap arguments for a sandbox with only this machine's programs. The command follows. */
export const BARE = ['bwrap', '--ro-bind', '/usr', '/usr', ...SYSTEM, ...NAMESPACES] as const;

export const NO_SANDBOX = requirement(
  'bubblewrap (bwrap) is not installed, or may not make namespaces here',
  process.platform === 'linux' &&
    spawnSync(BARE[0], [...BARE.slice(1), 'sh', '-c', ':'], { stdio: 'ignore' }).status === 0,
);

/** The bundle names the native library by this path. */
export const MODULES = realpath(fileURLToPath(new URL('../../../node_modules', import.meta.url)));

const NODE_INSIDE = '/node/bin/node';
const HOLDFAST_INSIDE = '/holdfast/holdfast.cjs';
/** The command inside the sandbox, as shell words. */
export const HOLDFAST_THERE = `${NODE_INSIDE} ${HOLDFAST_INSIDE}`;

/** The program that every sandbox of a test file runs. */
export interface Image {
  readonly directory: string;
  remove(): Promise<void>;
}

/** Bundles the command as it is published: one file, and the native library beside it. */
export async function buildImage(): Promise<Image> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  await bundled(directory, 'holdfast', new URL('../../../src/cli/bin.ts', import.meta.url));
  return { directory, remove: () => rm(directory, { recursive: true }) };
}

/** A volume and a bridge to some servers. Both outlive the sandboxes that use them, and end with the test. */
export interface Place {
  /** The volume seen from outside; HOLDFAST_HOME in the sandbox is `/volume/holdfast`. */
  readonly home: Home;
  /** Starts `holdfast` in a new sandbox. */
  start(args: readonly string[], options?: SandboxOptions): Running;
  /** Starts any program in a new sandbox. */
  startProgram(command: readonly string[], options?: SandboxOptions): Running;
  /** Starts a shell command in a new sandbox, on a terminal. `pid` is the sandbox’s. */
  open(command: string, options?: SandboxOptions): Promise<Terminal>;
  /** Forwards a port of 127.0.0.1 into the sandbox until the test ends, as `ssh -L` does. */
  forward(port: number): Promise<void>;
}

export interface SandboxOptions {
  readonly variables?: Readonly<Record<string, string>>;
  /** More arguments for bwrap. */
  readonly mounts?: readonly string[];
  readonly columns?: number;
}

/** Creates a place. @param others more ports of 127.0.0.1 that the sandboxes reach */
export async function place(
  image: Image,
  servers: readonly Servers[] = [],
  others: readonly number[] = [],
): Promise<Place> {
  const directory = await temporaryDirectory();
  const [volume, bridge] = [join(directory, 'volume'), join(directory, 'bridge')];
  await Promise.all([mkdir(volume, { mode: 0o700 }), mkdir(bridge)]);
  const urls = servers.flatMap(({ resource, issuer }) => [resource, issuer]);
  for (const port of [...urls.map((url) => Number(new URL(url).port)), ...others]) {
    await listening(
      connecting(() => connect(port, '127.0.0.1')),
      { path: join(bridge, `out-${port}`) },
    );
  }
  const flags = await rootOf(image.directory, volume, bridge);
  const inside = (command: readonly string[], { variables = {}, mounts = [] }: SandboxOptions = {}) => [
    ...flags,
    ...mounts,
    '--remount-ro',
    '/',
    ...Object.entries({ PATH: '/usr/bin:/bin', HOLDFAST_HOME: '/volume/holdfast', ...variables }).flatMap(
      ([name, value]) => (value === '' ? [] : ['--setenv', name, value]),
    ),
    NODE_INSIDE,
    '/bridge/bridge.mjs',
    '/bridge/sockets',
    ...command,
  ];
  const startProgram: Place['startProgram'] = (command, options) => {
    const running = start('bwrap', inside(command, options));
    onTestFinished(() => running.kill('SIGKILL'));
    return running;
  };
  return {
    home: homeAt(join(volume, 'holdfast')),
    startProgram,
    start: (args, options) => startProgram([NODE_INSIDE, HOLDFAST_INSIDE, ...args], options),
    open: async (command, options) => {
      const variables = { TERM: 'xterm', NO_COLOR: '1', ...options?.variables };
      const argv = ['bwrap', ...inside(['sh', '-c', command], { ...options, variables })];
      const words = argv.map(shellWord).join(' ');
      // The shell becomes the sandbox, so that its process id is known.
      const opened = terminal(`sh -c 'echo "pid $$"; exec "$@"' sh ${words}`, {}, options);
      await opened.shows('pid ');
      const pid = Number(/^pid (\d+)$/m.exec(opened.shown())?.[1]);
      return { ...opened, pid };
    },
    forward: (port) =>
      listening(
        connecting(() => connect(join(bridge, `in-${port}`))),
        { port, host: '127.0.0.1' },
      ),
  };
}

async function rootOf(image: string, volume: string, bridge: string): Promise<string[]> {
  const modules = await MODULES;
  const script = fileURLToPath(new URL('sandbox-bridge.mjs', import.meta.url));
  // Other users must be able to pass through it; a mount point below it needs no more.
  await chmod(image, 0o755);
  const binds = [
    ['--ro-bind', '/usr', '/usr'],
    ['--ro-bind', process.execPath, NODE_INSIDE],
    ['--ro-bind', modules, modules],
    ['--ro-bind', image, dirname(HOLDFAST_INSIDE)],
    ['--ro-bind', script, '/bridge/bridge.mjs'],
    ['--bind', bridge, '/bridge/sockets'],
    ['--bind', volume, '/volume'],
  ];
  return [...SYSTEM, ...binds.flat(), '--proc', '/proc', '--dev', '/dev', ...NAMESPACES, '--clearenv'];
}

function homeAt(path: string): Home {
  const environment = { ...processEnvironment(), variables: { HOLDFAST_HOME: path } };
  return { path, layout: layoutOf(environment), environment };
}

/** Waits for the port until the test ends. */
async function listening(
  server: ReturnType<typeof connecting>,
  where: { path: string } | { port: number; host: string },
): Promise<void> {
  const connections = new Set<Socket>();
  server.on('connection', (socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
  });
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of connections) socket.destroy();
      }),
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => resolve());
  });
}
