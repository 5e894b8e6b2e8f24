import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Credential } from '../../src/credential.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { accepted, loggedIn } from '../support/homes/vault.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import { countedSince } from '../support/servers/counted-since.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { keepInFile } from './file-provider.ts';

/*
 * anthropics/claude-code issue 84440: five sessions share one login whose access token has expired, and each refreshes it.
 * The server treats the second use of a rotating refresh token as theft and revokes the grant (RFC 9700 section 4.14.2).
 */

const FIVE = 5;
const SCRIPT = fileURLToPath(new URL('./one-call.ts', import.meta.url));

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** Makes a login with an expired access token. The server refreshes slowly: all processes ask before one has an answer. */
async function expiredLogin(): Promise<{ home: Home; first: Credential }> {
  await servers.behave({ accessTokenTtlSeconds: 1 });
  const { home, first } = await loggedIn(await temporaryHome(), servers.resource);
  const isAccepted = () => accepted(servers.resource, first.tokens.accessToken);
  await expect.poll(isAccepted, { timeout: 30_000 }).toBe(false);
  await servers.behave({ accessTokenTtlSeconds: 3600, delayMs: 2000 });
  return { home, first };
}

/** Starts several processes at once, and returns the output of each. */
async function processes(many: number, way: string, home: Home, file = ''): Promise<string[]> {
  const go = join(home.path, 'go');
  const running = Array.from({ length: many }, () =>
    start(process.execPath, [...TYPESCRIPT, SCRIPT, way, servers.resource, go, file], {
      HOLDFAST_HOME: home.path,
    }),
  );
  await Promise.all(running.map((one) => one.says('ready')));
  await writeFile(go, '');
  const ended = await Promise.all(running.map((one) => one.ended));
  expect(ended.map(({ code }) => code)).toEqual(Array(many).fill(0));
  return ended.map(({ out }) => out);
}

describe.each([
  'SDK v1, oauthClientProvider and its fetch',
  'SDK v2, authProvider and its fetch',
  'SDK v2, oauthClientProvider and its fetch',
])('five processes with one expired login, by %s', (way) => {
  test('refreshes once for five processes with one expired login, and all are answered', async () => {
    const { home } = await expiredLogin();
    const before = await servers.counters();
    expect(await processes(FIVE, way, home)).toEqual(Array(FIVE).fill('answered'));
    expect(await countedSince(servers, before)).toEqual({ tokenRequests: 1, refreshGrants: 1 });
  });
});

describe.each(['SDK v1, file', 'SDK v2, file'])('the SDK’s own pattern over a shared file, %s', (way) => {
  test('loses the login when five processes refresh it over a shared file', async () => {
    const { home, first } = await expiredLogin();
    const file = join(home.path, 'auth.json');
    await keepInFile(file, first);
    const before = await servers.counters();
    const said = await processes(FIVE, way, home, file);
    expect(said.filter((one) => one === 'answered').length).toBeLessThanOrEqual(1);
    const { refreshGrants, grantsRevoked } = await countedSince(servers, before);
    expect(refreshGrants).toBe(1);
    expect(grantsRevoked).toBeGreaterThanOrEqual(1);
    await servers.behave({});
    expect(await processes(1, way, home, file)).not.toContain('answered');
  });
});
