import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import type { Ended } from '../processes/process.ts';
import { type Servers, startServers } from '../servers/servers.ts';
import { type CommandLine, commandLine } from '../transcript.ts';
import { contentsOf, copyDirectory } from './disk.ts';
import { temporaryHome } from './home.ts';

/*
 * Things that go wrong, one at a time, in a home with a good login. Each has its own error and exit code, changes
 * nothing on disk, and leaves the login usable.
 */

export interface GoodLogin {
  readonly servers: Servers;
  /** A home with the login, for one test, at that path if one is given. */
  home(path?: string): Promise<CommandLine>;
  /** Whether the login still gives its first token and prints nothing else. */
  works(at: CommandLine): Promise<boolean>;
  /** Runs `bad` and checks that it changed nothing. @returns its output, without the progress before the error */
  unharmed(at: CommandLine, bad: () => Promise<Ended>): Promise<string>;
}

/** Logs in once for all tests of a file, which calls this at its top. */
export function goodLogin(): GoodLogin {
  let servers: Servers;
  let template: string;
  let token: string;
  beforeAll(async () => {
    servers = await startServers();
    template = join(await mkdtemp(join(tmpdir(), 'holdfast-test-')), 'home');
    const at = commandLine(template);
    await at.run(['login', servers.resource]);
    token = (await at.run(['token', servers.resource])).out;
    expect(token.length).toBeGreaterThan(20);
  });
  afterAll(async () => {
    await Promise.all([servers.stop(), rm(join(template, '..'), { recursive: true })]);
  });

  const works: GoodLogin['works'] = async (at) => {
    const { code, out, err } = await at.run(['token', servers.resource]);
    return code === 0 && err === '' && out === token;
  };
  return {
    get servers() {
      return servers;
    },
    home: async (path) => {
      const home = path ?? (await temporaryHome()).path;
      await copyDirectory(template, home);
      return commandLine(home, [servers]);
    },
    works,
    unharmed: async (at, bad) => {
      const before = await contentsOf(at.home);
      expect(before.filter((line) => line.includes('.jwe'))).toHaveLength(1);
      const ended = await bad();
      expect(await contentsOf(at.home)).toEqual(before);
      expect(await works(at)).toBe(true);
      return failureOf(at, ended);
    },
  };
}

/** Transcript of a failed command, from its error on. */
export function failureOf(at: CommandLine, ended: Ended): string {
  const { err } = ended;
  return at.transcript({ ...ended, err: err.slice(Math.max(0, err.lastIndexOf('error: '))) });
}

/** The transcript that a failed command should have. */
export function failed(code: number, message: string, hint: string): string {
  return `exit ${code}\n--- stderr\nerror: ${message}\n  ${hint}`;
}
