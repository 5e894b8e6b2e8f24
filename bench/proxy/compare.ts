import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { defined } from '../../src/values/defined.ts';
import { openVault } from '../../src/vault/open.ts';
import { openSite, type Site } from './site.ts';

const NAMES = ['direct', 'holdfast', 'mcp-remote'] as const;
type Name = (typeof NAMES)[number];

/** In each round, for each of them, in turns. */
const CALLS_A_ROUND = 100;
const STARTS = 10;
const IN_FLIGHT = 16;
const CALLS_AT_ONCE = 1_000;
const CALLS_FOR_MEMORY = 10_000;

const PEERS = fileURLToPath(new URL('../peers', import.meta.url));
const MCP_REMOTE = join(PEERS, 'node_modules', 'mcp-remote', 'dist', 'proxy.js');

interface Connected {
  readonly client: Client;
  readonly pid: number | undefined;
}

export async function compare(rounds: number): Promise<void> {
  if (!existsSync(MCP_REMOTE)) throw new Error(`mcp-remote is not installed: npm ci --prefix ${PEERS}`);
  const site = await openSite();
  try {
    const vault = openVault(defined({ home: site.env['HOLDFAST_HOME'], keyring: 'file' }));
    const token = (await vault.token(site.resource)).token.reveal();
    await vault.close();
    const connect = connector(site, token);
    console.log(`Node ${process.version}, milliseconds, in turns`);
    await starts(connect);
    const all = {
      direct: await connect('direct'),
      holdfast: await connect('holdfast'),
      'mcp-remote': await connect('mcp-remote'),
    };
    await latency(all, rounds);
    await throughput(all);
    await memory(all);
    for (const name of NAMES) await all[name].client.close();
  } finally {
    await site.end();
  }
}

function connector(site: Site, token: string): (name: Name) => Promise<Connected> {
  const env = {
    ...site.env,
    MCP_REMOTE_CONFIG_DIR: join(site.directory, 'mcp-remote'),
    TOKEN: `Bearer ${token}`,
  };
  const transportOf = (name: Name): StdioClientTransport | StreamableHTTPClientTransport => {
    const stdio = (args: string[]) =>
      new StdioClientTransport({ command: process.execPath, args, env, stderr: 'ignore' });
    switch (name) {
      case 'direct':
        return new StreamableHTTPClientTransport(new URL(site.resource), {
          requestInit: { headers: { authorization: `Bearer ${token}` } },
        });
      case 'holdfast':
        return stdio([site.command, 'proxy', site.resource]);
      case 'mcp-remote':
        return stdio([
          MCP_REMOTE,
          site.resource,
          '--transport',
          'http-only',
          '--header',
          'Authorization:${TOKEN}',
        ]);
    }
  };
  return async (name) => {
    const client = new Client({ name: 'bench', version: '1.0.0' });
    const transport = transportOf(name);
    await client.connect(transport);
    return {
      client,
      pid: transport instanceof StdioClientTransport ? (transport.pid ?? undefined) : undefined,
    };
  };
}

async function call({ client }: Connected): Promise<number> {
  const begun = performance.now();
  await client.callTool({ name: 'echo', arguments: { text: 'the quick brown fox' } });
  return performance.now() - begun;
}

/** From the start of the process to the first tool result. */
async function starts(connect: (name: Name) => Promise<Connected>): Promise<void> {
  const times: Record<Name, number[]> = { direct: [], holdfast: [], 'mcp-remote': [] };
  for (let round = -1; round < STARTS; round += 1) {
    for (const name of NAMES) {
      const begun = performance.now();
      const connected = await connect(name);
      await call(connected);
      const took = performance.now() - begun;
      await connected.client.close();
      if (round >= 0) times[name].push(took);
    }
  }
  const of = (name: Name) => `${name} ${quantile(times[name], 0.5).toFixed(0)}`;
  const ratio = quantile(times.holdfast, 0.5) / quantile(times['mcp-remote'], 0.5);
  console.log(
    `start to first result, median: ${NAMES.map(of).join(', ')}; ratio ${ratio.toFixed(2)} (aim: 0.5 or less)`,
  );
}

async function latency(all: Record<Name, Connected>, rounds: number): Promise<void> {
  const times: Record<Name, number[]> = { direct: [], holdfast: [], 'mcp-remote': [] };
  for (let round = -3; round < rounds; round += 1) {
    for (const name of NAMES) {
      for (let index = 0; index < CALLS_A_ROUND; index += 1) {
        const took = await call(all[name]);
        if (round >= 0) times[name].push(took);
      }
    }
  }
  const added = (name: Name, q: number) => quantile(times[name], q) - quantile(times.direct, q);
  for (const name of NAMES) {
    const rest =
      name === 'direct' ? '' : `, added ${added(name, 0.5).toFixed(3)} and ${added(name, 0.99).toFixed(3)}`;
    console.log(
      `one call, ${name.padEnd(10)} p50 ${quantile(times[name], 0.5).toFixed(3)}  p99 ${quantile(times[name], 0.99).toFixed(3)}${rest}`,
    );
  }
  console.log(
    `  ratio of the added medians ${(added('holdfast', 0.5) / added('mcp-remote', 0.5)).toFixed(2)} (aim: 0.2 or less)`,
  );
}

async function throughput(all: Record<Name, Connected>): Promise<void> {
  const rates: Record<Name, number[]> = { direct: [], holdfast: [], 'mcp-remote': [] };
  for (let round = -1; round < 5; round += 1) {
    for (const name of NAMES) {
      const begun = performance.now();
      await many(all[name], CALLS_AT_ONCE);
      if (round >= 0) rates[name].push(CALLS_AT_ONCE / ((performance.now() - begun) / 1000));
    }
  }
  const of = (name: Name) => `${name} ${quantile(rates[name], 0.5).toFixed(0)}`;
  console.log(`calls per second, ${IN_FLIGHT} in flight, median: ${NAMES.map(of).join(', ')}`);
}

async function memory(all: Record<Name, Connected>): Promise<void> {
  for (const name of ['holdfast', 'mcp-remote'] as const) {
    const before = residentMiB(all[name].pid);
    await many(all[name], CALLS_FOR_MEMORY);
    console.log(
      `memory of ${name}: ${before} MiB, after ${CALLS_FOR_MEMORY} more calls ${residentMiB(all[name].pid)} MiB`,
    );
  }
}

async function many(connected: Connected, calls: number): Promise<void> {
  let left = calls;
  const lane = async () => {
    while (left > 0) {
      left -= 1;
      await call(connected);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
}

/** Linux tells; elsewhere nothing is said. */
function residentMiB(pid: number | undefined): string {
  try {
    const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return (Number(kib) / 1024).toFixed(0);
  } catch {
    return '?';
  }
}

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}
