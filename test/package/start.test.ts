import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, relative } from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { builtPackage } from '../support/built.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { seededHome } from '../support/homes/seeded-home.ts';

/*
 * What the commands load that are started most often. Node reads and compiles all of it before a command runs a line:
 * 100 KB cost a seventh of the start of a bare Node. A change that makes a command load more fails here. If the command
 * needs the code, write the new figures down; else load the code where it is used: `await import(…)`.
 */

/** How many bytes a command may load more than is written here, as a part of them. */
const ROOM = 0.05;

let dist: string;

beforeAll(async () => {
  dist = join(await builtPackage(), 'dist');
}, 300_000);

interface Loaded {
  readonly bytes: number;
  readonly files: readonly string[];
}

/**
 * Runs the built command, and tells which files of the package it loaded until it ended.
 *
 * @param proxying gives it a first message, and the command ends when `until` resolves
 */
async function loadedBy(
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
  proxying?: { readonly message: object; readonly until: Promise<void> },
): Promise<Loaded> {
  const directory = await temporaryDirectory();
  const [preload, report] = [join(directory, 'report.cjs'), join(directory, 'report.json')];
  const save = `require('node:fs').writeFileSync(${JSON.stringify(report)}, JSON.stringify(Object.keys(require.cache)))`;
  await writeFile(
    preload,
    `process.on('exit', () => ${save}); process.on('SIGUSR2', () => { ${save}; process.kill(process.pid, 'SIGKILL'); });`,
  );
  const child = spawn(process.execPath, ['--require', preload, join(dist, 'bin/holdfast.cjs'), ...args], {
    env: { HOME: directory, ...variables },
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  const ended = once(child, 'close');
  if (proxying === undefined) child.stdin.end();
  else {
    child.stdin.write(`${JSON.stringify(proxying.message)}\n`);
    await Promise.race([proxying.until, ended]);
    child.kill('SIGUSR2');
  }
  await ended;
  const files = JSON.parse(await readFile(report, 'utf8')) as string[];
  const ours = files.filter((file) => file !== preload);
  return {
    bytes: ours.reduce((sum, file) => sum + statSync(file).size, 0),
    // Without the hash of the content.
    files: ours.map((file) => relative(dist, file).replace(/-[\w-]{8}\.cjs$/, '')).sort(),
  };
}

async function expectLoaded(loaded: Promise<Loaded>, written: Loaded): Promise<void> {
  const { bytes, files } = await loaded;
  expect(files).toEqual(written.files.toSorted());
  expect(bytes, `of ${written.bytes} that are written here`).toBeLessThanOrEqual(written.bytes * (1 + ROOM));
}

const START = ['bin/chunks/main', 'bin/chunks/rolldown-runtime', 'bin/holdfast.cjs'];
const TOKEN = ['bin/chunks/token', ...START];

test('--version loads no more than is written here', async () => {
  await expectLoaded(loadedBy(['--version']), { bytes: 26_391, files: START });
});

test('--help loads no more than is written here', async () => {
  await expectLoaded(loadedBy(['--help']), { bytes: 51_120, files: ['bin/chunks/help', ...START] });
});

test.each(['token', 'headers'])(
  '%s with a fresh token loads no more than is written here',
  async (command) => {
    const { path, resource } = await seededHome();
    const variables = { HOLDFAST_HOME: path, HOLDFAST_KEYRING: 'file' };
    await expectLoaded(loadedBy([command, resource], variables), { bytes: 174_766, files: TOKEN });
  },
);

test('proxy loads no more than is written here until its first request', async () => {
  let asked: () => void = () => {};
  const until = new Promise<void>((resolve) => {
    asked = resolve;
  });
  // It gets no answer, so the proxy loads nothing more.
  const server = createServer(() => asked());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { path, resource } = await seededHome(
    `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
  );
  const variables = { HOLDFAST_HOME: path, HOLDFAST_KEYRING: 'file' };
  const params = {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'test', version: '1' },
  };
  const message = { jsonrpc: '2.0', id: 1, method: 'initialize', params };
  await expectLoaded(loadedBy(['proxy', resource], variables, { message, until }), {
    bytes: 427_978,
    files: [...TOKEN, 'bin/chunks/help', 'bin/chunks/native', 'bin/chunks/online'],
  });
});
