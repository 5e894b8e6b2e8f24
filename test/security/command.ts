import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { bundled } from '../support/homes/bundle.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import type { Ended } from '../support/processes/process.ts';

/* `holdfast` as a user runs it: one file, in the user's directory, with the file keyring. */

export interface Where {
  /** `HOME`, and also the working directory unless one is given. */
  readonly home: string;
  readonly directory?: string;
  readonly input?: string;
  readonly variables?: Readonly<Record<string, string>>;
}

export interface Command {
  readonly file: () => string;
  run(args: readonly string[], where: Where): Promise<Ended>;
}

/** Builds the command once for the tests of a file, which calls this at its top. */
export function command(): Command {
  let directory = '';
  let file = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
    file = await bundled(directory, 'holdfast', new URL('../../src/cli/bin.ts', import.meta.url));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));
  return {
    file: () => file,
    run: (args, { home, directory: cwd = home, input = '', variables = {} }) => {
      const env = { PATH: process.env['PATH'] ?? '', HOME: home, HOLDFAST_KEYRING: 'file', ...variables };
      const child = spawn(process.execPath, [file, ...args], { cwd, env, stdio: 'pipe' });
      let [out, err] = ['', ''];
      child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
      // A command that reads no input may have ended.
      child.stdin.on('error', () => {}).end(input);
      return new Promise((resolve, reject) => {
        child.once('error', reject);
        child.once('close', (code) => resolve({ code, out, err }));
      });
    },
  };
}

/** A user's home directory for one test. */
export async function userHome(): Promise<string> {
  const home = join(await temporaryDirectory(), 'user');
  await mkdir(home, { mode: 0o700 });
  return home;
}

export const RESOURCE = 'https://mcp.example.com/mcp';
export const TOKEN = 'access-SECRET';

/** A login in the format of `holdfast import -`, with an hour of life. No server is needed for it. */
export function exported(changes: Readonly<Record<string, unknown>> = {}): string {
  const now = Date.now();
  return JSON.stringify({
    format: 'holdfast-login',
    v: 1,
    resource: RESOURCE,
    account: 'default',
    generation: 1,
    server: { issuer: 'https://as.example.com', tokenEndpoint: 'https://as.example.com/token' },
    client: { clientId: 'c', authMethod: 'none', redirectUris: [], source: 'dynamic' },
    tokens: {
      accessToken: TOKEN,
      tokenType: 'Bearer',
      refreshToken: 'refresh-SECRET',
      obtainedAt: now,
      expiresAt: now + 3_600_000,
    },
    loggedInAt: now,
    ...changes,
  });
}
