import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createHttpFetch } from '../../src/http/fetch.ts';
import { send } from '../../src/http/request.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { NO_OTHER_USER, OTHER_USER, said, tcpEnd } from '../support/network/tcp-end.ts';
import { TYPESCRIPT } from '../support/processes/process.ts';
import { commandLine } from '../support/transcript.ts';

/** Starts another user's server at a port that ours has left, and records all bytes sent to it. */
async function squatter(host = '127.0.0.1') {
  const child = await tcpEnd(['listen', host], OTHER_USER);
  const port = Number(await said(child));
  let got = '';
  child.stdout.on('data', (chunk: Buffer) => {
    got += chunk.toString();
  });
  return {
    origin: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    got: async () => {
      child.stdin.end();
      await once(child.stdout, 'close');
      return got;
    },
  };
}

describe.skipIf(NO_OTHER_USER)('another user’s server at a loopback address', () => {
  test.each(['127.0.0.1', '::1'])('sends no byte to another user’s server at %s', async (host) => {
    const { origin, got } = await squatter(host);
    const refusal = { code: 'unsafe-url', message: expect.stringContaining(`user ${OTHER_USER}`) as string };
    await expect(send(`${origin}/token`, { method: 'POST', body: 'refresh_token=RT' })).rejects.toMatchObject(
      refusal,
    );
    const http = createHttpFetch({ origin, headers: {} });
    await expect(
      http.fetch(`${origin}/mcp`, { headers: { authorization: 'Bearer AT' } }),
    ).rejects.toMatchObject(refusal);
    http.close();
    expect(await got()).toBe('');
  });

  test('sends the request when other users are trusted', async () => {
    const { origin, got } = await squatter();
    const answer = await send(`${origin}/token`, { method: 'POST', body: 'a=1', reach: 'anyone' });
    expect(answer.status).toBe(200);
    expect(await got()).toContain('POST /token');
  });

  test('sends no refresh token to another user’s server from holdfast token', async () => {
    const { origin, got } = await squatter();
    const { path } = await temporaryHome();
    const line = commandLine(path);
    const resource = 'http://127.0.0.1:1/mcp';
    const login = {
      format: 'holdfast-login',
      v: 1,
      resource,
      account: 'default',
      generation: 1,
      server: { issuer: origin, tokenEndpoint: `${origin}/token` },
      client: { clientId: 'c', authMethod: 'none', redirectUris: [], source: 'dynamic' },
      tokens: {
        accessToken: 'AT',
        tokenType: 'Bearer',
        refreshToken: 'RT-SECRET',
        obtainedAt: Date.now() - 7_200_000,
        expiresAt: Date.now() - 3_600_000,
      },
      loggedInAt: 1,
    };
    const bin = fileURLToPath(new URL('../../src/cli/bin.ts', import.meta.url));
    const imported = spawnSync(process.execPath, [...TYPESCRIPT, bin, 'import', '-'], {
      input: JSON.stringify(login),
      env: { PATH: process.env['PATH'], HOME: '/nonexistent', HOLDFAST_HOME: path },
    });
    expect(imported.status, imported.stderr.toString()).toBe(0);
    const { code, err } = await line.run(['token', resource]);
    expect([code, await got()]).toEqual([5, '']);
    expect(err).toContain('--lenient other-local-users');
  });

  test('asks another user’s server how to log in only when the option allows it', async () => {
    const { origin, got } = await squatter();
    const { path } = await temporaryHome();
    const { code, err } = await commandLine(path).run(['login', `${origin}/mcp`, '--browser']);
    expect([code, await got()]).toEqual([5, '']);
    expect(err).toContain(`Another user of this machine (user ${OTHER_USER}) runs the server at`);
    const trusted = await squatter();
    const options = ['--browser', '--lenient', 'other-local-users'];
    await commandLine(path).run(['login', `${trusted.origin}/mcp`, ...options]);
    expect(await trusted.got()).toContain('POST /mcp');
  });
});
