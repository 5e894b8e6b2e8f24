/**
 * `npm run bench:failover -- [--only TEXT] [--logins 12] [--holders 3] [--seconds 14]`: engines whose server dies while logins
 * are in use, and another takes over, some of them without the last writes. Each holder has connections of its own and asks
 * for every token again and again; tokens live for two seconds. Shows what the authorization server and the holders saw. Exits
 * with 1 when a login was lost, or what is stored at the end does not refresh.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openVault } from '../src/vault/open.ts';
import type { Vault } from '../src/vault/vault.ts';
import { type RunningTopology, TOPOLOGIES } from './failover/topologies.ts';
import { Credentials } from './torture/credentials.ts';
import { OwnIssuer } from './torture/issuer.ts';
import { AuthorizationServer } from './torture/server.ts';

/** Two kinds of server: one ends a login whose refresh token comes twice; one answers again, and the newest answer counts. */
const KINDS = [
  { mode: 'strict', replay: 'strict' },
  { mode: 'grace', replay: 'window' },
] as const;
const LIFE_MS = 2_000;
/** When the server dies, from the first call on, in milliseconds; a replica that is behind stops following a second before. */
const FAULT_MS = 4_000;

delete process.env['NODE_EXTRA_CA_CERTS'];
const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    logins: { type: 'string', default: '12' },
    holders: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '14' },
  },
});
const say = (text: string) => process.stdout.write(`${text}\n`);
say(
  `Node ${process.version}, ${values.logins} logins, ${values.holders} holders, tokens of ${LIFE_MS / 1000} s`,
);
for (const tried of TOPOLOGIES.filter(({ title }) => title.includes(values.only))) {
  for (const kind of KINDS) {
    const topology = await tried.start();
    try {
      say(`${tried.title}, ${kind.mode} server\n  ${await takenOver(topology, kind)}`);
    } finally {
      await topology.close();
    }
  }
}
process.exit();

async function takenOver(
  topology: RunningTopology,
  { mode, replay }: (typeof KINDS)[number],
): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-failover-'));
  const issuer = new OwnIssuer(mode, `c${randomBytes(8).toString('hex')}`, 600_000);
  const server = await AuthorizationServer.start(issuer, {
    journey: () => ({ beforeMs: 0, afterMs: 0, fate: 'whole' }),
    lifeMs: LIFE_MS,
    logFile: join(directory, 'log'),
  });
  const resources = Array.from(
    { length: Number(values.logins) },
    (_, index) => `https://mcp.example.com/${index}`,
  );
  const home = join(directory, 'home');
  const keyFile = join(directory, 'key');
  await mkdir(home, { mode: 0o700 });
  await writeFile(keyFile, randomBytes(32).toString('base64url'), { mode: 0o600 });
  const servers = Object.fromEntries(resources.map((resource) => [resource, { replay }]));
  await writeFile(join(home, 'config.json'), JSON.stringify({ servers }), { mode: 0o600 });
  const credentials = new Credentials(home, keyFile, topology.store());
  const vaults: Vault[] = [];
  try {
    const families: number[] = [];
    for (const resource of resources) {
      const { family, refreshToken } = await issuer.begin();
      families.push(family);
      const { tokenEndpoint, revocationEndpoint } = server;
      const clientId = 'failover';
      const loggedInAt = Date.now();
      await credentials.put(resource, {
        tokenEndpoint,
        revocationEndpoint,
        clientId,
        refreshToken,
        loggedInAt,
      });
    }
    for (let count = Number(values.holders); count > 0; count -= 1) {
      vaults.push(
        openVault({ keyring: 'key-file', store: topology.store(), environment: credentials.environment }),
      );
    }
    const { calls, longestMs, takeOverMs } = await useAll(vaults, resources, topology);
    const lost = families.filter((family) => issuer.revokedAt(family) !== undefined).length;
    let dead = 0;
    for (const [index, resource] of resources.entries()) {
      const stored = await credentials.stored(resource);
      if (stored?.refreshToken !== issuer.live(families[index] ?? -1)) dead += 1;
    }
    if (lost + dead > 0) process.exitCode = 1;
    const { log } = server;
    const repeated = log.filter(({ outcome }) => outcome === 'repeated').length;
    return [
      `${lost} logins lost, ${dead} stored with a token that is not the newest;`,
      `${(longestMs / 1000).toFixed(1)} s at most without a token (${(takeOverMs / 1000).toFixed(1)} s of them the take-over);`,
      `${log.length} presentations, ${repeated} of them repeated;`,
      `calls: ${Object.entries(calls)
        .map(([name, count]) => `${count} ${name}`)
        .join(', ')}`,
    ].join(' ');
  } finally {
    await Promise.all(vaults.map((vault) => Promise.race([vault.close(), sleep(5_000)])));
    await credentials.close();
    await server.close();
    await rm(directory, { recursive: true, force: true });
  }
}

interface Use {
  /** How often which answer was given: `served`, or the code of the error. */
  readonly calls: Readonly<Record<string, number>>;
  /** The longest that a holder was without a token of a login. */
  readonly longestMs: number;
  /** Until the other server took writes. Where the engine promotes without us: only until the old one was dead. */
  readonly takeOverMs: number;
}

async function useAll(
  vaults: readonly Vault[],
  resources: readonly string[],
  topology: RunningTopology,
): Promise<Use> {
  const calls: Record<string, number> = {};
  let longestMs = 0;
  const begin = performance.now();
  const passed = () => performance.now() - begin;
  const fault = (async () => {
    await sleep(FAULT_MS - 1_000);
    topology.lag?.();
    await sleep(1_000);
    const dies = performance.now();
    await topology.takeOver();
    return performance.now() - dies;
  })();
  await Promise.all(
    vaults.flatMap((vault) =>
      resources.map(async (resource) => {
        let served = performance.now();
        while (passed() < Number(values.seconds) * 1000) {
          const answer = await vault.token(resource, { timeoutMs: 2_000 }).then(
            () => 'served',
            (error: Error & { code?: string }) => error.code ?? error.name,
          );
          calls[answer] = (calls[answer] ?? 0) + 1;
          if (answer === 'served') {
            longestMs = Math.max(longestMs, performance.now() - served);
            served = performance.now();
          }
          await sleep(50);
        }
        longestMs = Math.max(longestMs, performance.now() - served);
      }),
    ),
  );
  return { calls, longestMs, takeOverMs: await fault };
}
