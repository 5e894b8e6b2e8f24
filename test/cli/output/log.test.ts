import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryHome } from '../../support/homes/home.ts';
import { expire, loggedIn, stored } from '../../support/homes/vault.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';
import { commandLine } from '../../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

function parsed(err: string): Record<string, unknown>[] {
  return err
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('--log json', () => {
  test('logs all output of refresher with time, level and event', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const at = commandLine(home.path);
    const { code, out, err } = await at.run(['refresher', '--once', '--keyring', 'file', '--log', 'json']);
    expect({ code, out }).toEqual({ code: 0, out: '' });
    const lines = parsed(err);
    expect(lines).toContainEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      level: 'info',
      event: 'refreshed',
      resource: servers.resource,
      account: 'default',
      message: `${servers.resource} has new tokens.`,
    });
    const { tokens } = (await stored(home, servers.resource)).credential;
    for (const secret of [tokens.accessToken, tokens.refreshToken])
      expect(err).not.toContain(secret?.reveal());
  });

  test('logs a failure as a line with its code', async () => {
    const own = await startServers();
    const { home } = await loggedIn(await temporaryHome(), own.resource);
    await expire(home, own.resource);
    await own.stop();
    const at = commandLine(home.path);
    const { code, err } = await at.run(['refresher', '--once', '--keyring', 'file', '--log', 'json']);
    expect(code).toBe(5);
    expect(parsed(err)).toContainEqual(
      expect.objectContaining({ level: 'warning', event: 'failed', code: 'network', resource: own.resource }),
    );
  });

  test('logs all output of proxy, and leaves standard output to the protocol', async () => {
    const { path } = await temporaryHome();
    const at = commandLine(path);
    const url = 'http://mcp.example.com/mcp';
    const { code, out, err } = await at.run(['proxy', url, '--allow-http', '--log', 'json']);
    expect({ code, out }).toEqual({ code: 0, out: '' });
    expect(parsed(err)).toEqual([
      {
        time: expect.any(String),
        level: 'warning',
        message: expect.stringContaining('mcp.example.com'),
        hint: 'Use https where the server has it.',
      },
    ]);
  });
});
