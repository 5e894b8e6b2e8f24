import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { bundled } from '../../test/support/homes/bundle.ts';
import type { Servers } from '../../test/support/servers/servers.ts';
import { accepted, judged } from './barrier.ts';
import { CommandFleet, type Ended } from './command-fleet.ts';
import { type Fleet, type Outcome, WorkerFleet } from './fleet.ts';
import { Login } from './login.ts';
import { noNamespaces, pidNamespaces } from './namespaces.ts';
import { type PeerLogin, peerLogin } from './peer-login.ts';
import type { Place } from './place.ts';
import { since } from './storm.ts';

/** What one program made of it, as the authorization server counted. */
export interface PeerResult {
  readonly name: string;
  readonly processes: number;
  readonly rounds: number;
  readonly tokenRequests: number;
  readonly validTokens: number;
  readonly revocations: number;
  /** Rounds after which the server had ended the login. */
  readonly roundsLost: number;
  readonly failures: readonly string[];
}

interface Contender {
  readonly name: string;
  /** In bench/peers/node_modules. */
  readonly package?: string;
  missing?(): string | undefined;
  /** Made anew for each round, over a login that has just been made and whose access token has just lapsed. */
  prepare(servers: Servers, place: Place, home: string): Promise<Fleet>;
}

interface Trial {
  readonly processes: number;
  readonly rounds: number;
  readonly delayMs: number;
}

const PEERS = fileURLToPath(new URL('../peers', import.meta.url));
const TRIAL: Trial = { processes: 5, rounds: 5, delayMs: 1_000 };
const SLOW_TRIAL: Trial = { processes: 5, rounds: 1, delayMs: 40_000 };
const SHORT_LIFE_S = 2;
/** From the barrier until a process counts as having no token: two answers of the token endpoint, and this. */
const PATIENCE_MS = 20_000;

let patienceMs = PATIENCE_MS;

const CONTENDERS: readonly Contender[] = [
  {
    name: 'holdfast token',
    prepare: async (servers, place, home) => {
      const login = await Login.make(servers.resource, home, 'file');
      await login.lapsed();
      await login.close();
      const bin = await bundled(place.path, 'holdfast', new URL('../../src/cli/bin.ts', import.meta.url));
      return new CommandFleet({
        command: [process.execPath, bin, 'token', servers.resource],
        variables: login.variables,
        patienceMs,
        judge: ({ code, out }) =>
          judged([code === 0 ? out.trim() : new Error(`exit ${code}`)], servers.resource),
      });
    },
  },
  mcpRemote(),
  {
    ...mcpRemote((place) => pidNamespaces(place, 2)),
    name: 'mcp-remote, two PID namespaces',
    missing: noNamespaces,
  },
  {
    name: '@google/gemini-cli-core',
    package: '@google/gemini-cli-core',
    prepare: async (servers, place, home) => {
      const { client, tokens, tokenEndpoint } = await lapsedLogin(servers);
      const entry = {
        serverName: 'storm',
        token: {
          accessToken: tokens.access_token,
          refreshToken: tokens.refresh_token,
          expiresAt: Date.now() - 1_000,
          tokenType: tokens.token_type,
          scope: tokens.scope,
        },
        clientId: client.client_id,
        tokenUrl: tokenEndpoint,
        mcpServerUrl: servers.resource,
        updatedAt: Date.now(),
      };
      await keep(join(home, '.gemini'), 'mcp-oauth-tokens.json', [entry]);
      const root = join(PEERS, 'node_modules', '@google/gemini-cli-core');
      return workers(place, 'gemini-cli', home, { resource: servers.resource, name: 'storm', root });
    },
  },
  {
    name: 'MCP SDK over a JSON file',
    prepare: async (servers, place, home) => {
      const { client, tokens } = await lapsedLogin(servers);
      await keep(home, 'auth.json', { client, tokens });
      return workers(place, 'mcp-sdk', home, { resource: servers.resource, file: join(home, 'auth.json') });
    },
  },
];

/** Other programs under the same storm, at the same server. What they do is shown and not judged. */
export async function comparePeers(
  servers: Servers,
  place: Place,
  options: { slow: boolean; say: (text: string) => void; show: (result: PeerResult) => void },
): Promise<(PeerResult | { name: string; leftOut: string })[]> {
  const { say, show } = options;
  const notInstalled = await install(say);
  const results: (PeerResult | { name: string; leftOut: string })[] = [];
  for (const trial of options.slow ? [TRIAL, SLOW_TRIAL] : [TRIAL]) {
    patienceMs = 2 * trial.delayMs + PATIENCE_MS;
    say(
      `\nSide by side, at the same server: ${trial.processes} processes, ${trial.rounds} rounds, each from a new login whose access token has lapsed;\nthe token endpoint takes ${trial.delayMs / 1000} s. Who has no token ${patienceMs / 1000} s after the barrier is counted as having none.\n`,
    );
    for (const contender of CONTENDERS) {
      const name = `${contender.name}${trial === SLOW_TRIAL ? `, ${trial.delayMs / 1000} s` : ''}`;
      const reason = (contender.package && notInstalled) || contender.missing?.();
      if (reason) {
        say(`     ${name}: left out, ${reason}`);
        results.push({ name, leftOut: reason });
        continue;
      }
      try {
        const result = await tried({ ...contender, name }, trial, servers, place);
        show(result);
        results.push(result);
      } catch (error) {
        const leftOut = `it could not be driven: ${error instanceof Error ? error.message : String(error)}`;
        say(`     ${name}: left out, ${leftOut}`);
        results.push({ name, leftOut });
      }
    }
  }
  return results;
}

async function tried(
  contender: Contender,
  { processes, rounds, delayMs }: Trial,
  servers: Servers,
  place: Place,
): Promise<PeerResult> {
  const total = { tokenRequests: 0, validTokens: 0, revocations: 0, roundsLost: 0 };
  const failures = new Set<string>();
  for (let round = 0; round < rounds; round += 1) {
    const home = join(place.path, `peer-${randomBytes(4).toString('hex')}`);
    await servers.behave({ accessTokenTtlSeconds: SHORT_LIFE_S });
    const fleet = await contender.prepare(servers, place, home);
    place.ends(() => fleet.close());
    let outcome: Outcome;
    let counted: ReturnType<typeof since>;
    try {
      await servers.behave({ accessTokenTtlSeconds: 3600, delayMs });
      const before = await servers.counters();
      outcome = await fleet.release(processes);
      counted = since(before, await servers.counters());
      if (counted.tokenRequests > 1) {
        // What its sender gave up may still be processed, and end the login.
        await sleep(delayMs + 500);
        counted = since(before, await servers.counters());
      }
    } finally {
      await fleet.close();
      await servers.behave({ accessTokenTtlSeconds: 3600 });
    }
    total.tokenRequests += counted.tokenRequests;
    total.validTokens += outcome.valid;
    total.revocations += counted.revocations;
    if (counted.revocations > 0) total.roundsLost += 1;
    for (const failure of outcome.failures) failures.add(failure);
  }
  return { name: contender.name, processes, rounds, ...total, failures: [...failures].slice(0, 5) };
}

/** `dist/client.js`: connects, lists the tools, leaves. */
function mcpRemote(
  launch: (place: Place) => Promise<((index: number) => readonly string[]) | undefined> = async () =>
    undefined,
): Contender {
  return {
    name: 'mcp-remote',
    package: 'mcp-remote',
    prepare: async (servers, place, home) => {
      const { client, tokens, issuer, port } = await lapsedLogin(servers);
      const prefix = createHash('md5').update(servers.resource).digest('hex');
      const directory = join(home, 'mcp-remote-v1');
      await keep(directory, `${prefix}_client_info.json`, { ...client, issuer });
      await keep(directory, `${prefix}_tokens.json`, {
        ...tokens,
        issuer,
        expires_at: Date.now() - 1_000,
      });
      const program = join(PEERS, 'node_modules/mcp-remote/dist/client.js');
      return new CommandFleet({
        command: [process.execPath, program, servers.resource, String(port), '--allow-http'],
        launcher: await launch(place),
        // A browser that nobody sits at.
        variables: { HOME: home, MCP_REMOTE_CONFIG_DIR: home, BROWSER: 'true' },
        patienceMs,
        judge: async (ended) => ({ valid: 0, fingerprints: [], failures: [], ...verdictOf(ended) }),
      });
    },
  };
}

/** It shows nobody its token; that it listed the tools shows that the server took it. */
function verdictOf({ code, err, out }: Ended): { valid: number } | { failures: string[] } {
  if (code === 0 && `${out}${err}`.includes('whoami')) return { valid: 1 };
  return {
    failures: [code === null ? 'it waited for a person to log in' : `exit ${code}, and no tools listed`],
  };
}

async function workers(place: Place, name: string, home: string, settings: object): Promise<Fleet> {
  const program = await bundled(place.path, name, new URL(`../peers/${name}.ts`, import.meta.url));
  return new WorkerFleet({
    processes: TRIAL.processes,
    program: [program, JSON.stringify(settings)],
    variables: { HOME: home, GEMINI_CLI_HOME: home },
    patienceMs: patienceMs + 40_000,
    quiet: true,
  });
}

/** A login whose access token has lapsed, by what the server said of it and by what it does. */
async function lapsedLogin(servers: Servers): Promise<PeerLogin> {
  const login = await peerLogin(servers);
  await sleep(login.tokens.expires_in * 1000);
  while (await accepted(servers.resource, login.tokens.access_token)) await sleep(100);
  return login;
}

async function keep(directory: string, name: string, content: unknown): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(join(directory, name), JSON.stringify(content), { mode: 0o600 });
}

/** @returns why they are not there, when they could not be installed */
async function install(say: (text: string) => void): Promise<string | undefined> {
  const wanted = await readFile(join(PEERS, 'package.json'), 'utf8');
  const names = Object.keys((JSON.parse(wanted) as { dependencies: object }).dependencies);
  if (names.every((name) => existsSync(join(PEERS, 'node_modules', name, 'package.json')))) return undefined;
  say('Installing the peers in bench/peers/node_modules.');
  const npm = spawn('npm', ['ci'], { cwd: PEERS, stdio: ['ignore', 'ignore', 'ignore'] });
  const [code] = (await once(npm, 'exit')) as [number | null];
  return code === 0 ? undefined : 'the peers could not be installed: run npm ci in bench/peers';
}
