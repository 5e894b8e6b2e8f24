import { writeFile } from 'node:fs/promises';
import { globalAgent } from 'node:https';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createHttpFetch } from '../../src/http/fetch.ts';
import { send } from '../../src/http/request.ts';
import { failing } from '../support/failing.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { connectProxy } from '../support/network/connect-proxy.ts';
import { type RemoteHost, remoteHost } from '../support/network/remote-host.ts';
import { runScript } from '../support/processes/process.ts';
import { answer, hostileServer } from '../support/servers/hostile-server.ts';

/* Node reads NODE_EXTRA_CA_CERTS once, when it starts, so each request runs in a new process. */

async function request(url: string, variables: Readonly<Record<string, string>>): Promise<unknown> {
  return JSON.parse((await runScript('request-process.ts', [url], variables)).out);
}

/** Makes a certificate that no public authority has signed, and a file that trusts it. */
async function ownAuthority(host: string): Promise<{ tls: RemoteHost; trust: Record<string, string> }> {
  const tls = remoteHost(host, { trusted: false });
  const file = join(await temporaryDirectory(), 'ca.pem');
  await writeFile(file, tls.cert);
  return { tls, trust: { NODE_EXTRA_CA_CERTS: file } };
}

const refused = {
  code: 'network',
  unsent: true,
  message: expect.stringContaining('its certificate is not trusted here'),
  hint: expect.stringContaining('export NODE_EXTRA_CA_CERTS='),
};

describe('a server with a private certificate authority', () => {
  test('trusts a private authority only when NODE_EXTRA_CA_CERTS names it', async () => {
    const { tls, trust } = await ownAuthority('localhost');
    const server = await hostileServer({ '*': answer(200) }, tls);
    expect(await request(server.origin, {})).toEqual(refused);
    expect(server.log).toEqual([]);
    expect(await request(server.origin, (await ownAuthority('localhost')).trust)).toEqual(refused);
    expect(await request(server.origin, trust)).toEqual({ status: 200, reached: 'anywhere' });
    expect(server.requests).toEqual(['GET /']);
  });

  test('trusts a private authority through a proxy in the same way', async () => {
    const { tls, trust } = await ownAuthority('mcp.example.com');
    const server = await hostileServer({ '*': answer(200) }, tls);
    const proxy = await connectProxy();
    const through = { HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` };
    expect(await request(server.origin, through)).toEqual(refused);
    expect(server.log).toEqual([]);
    expect(await request(server.origin, { ...through, ...trust })).toEqual({ status: 200 });
    expect(proxy.targets).toEqual(Array(2).fill(`mcp.example.com:${server.port}`));
  });

  test('trusts the private authority of a proxy in the same way', async () => {
    const { tls, trust } = await ownAuthority('localhost');
    const proxy = await connectProxy({ tls, status: 403 });
    const variables = { HTTPS_PROXY: `https://localhost:${proxy.port}` };
    expect(await request('https://mcp.example.com/', variables)).toEqual(refused);
    expect(proxy.targets).toEqual([]);
    expect(await request('https://mcp.example.com/', { ...variables, ...trust })).toMatchObject({
      code: 'network',
      message: expect.stringContaining('it answered with status 403'),
    });
  });
});

describe('an untrusted certificate', () => {
  test('refuses an untrusted certificate despite NODE_TLS_REJECT_UNAUTHORIZED=0, and the hint says so', async () => {
    const server = await hostileServer({ '*': answer(200) }, remoteHost('localhost', { trusted: false }));
    expect(await request(server.origin, { NODE_TLS_REJECT_UNAUTHORIZED: '0' })).toEqual({
      ...refused,
      hint: expect.stringContaining('even with NODE_TLS_REJECT_UNAUTHORIZED=0'),
    });
    expect(server.log).toEqual([]);
  });

  test('refuses an untrusted certificate in both clients even if the host program checks none', async () => {
    const server = await hostileServer({ '*': answer(200) }, remoteHost('localhost', { trusted: false }));
    const other = await hostileServer({ '*': answer(200) }, remoteHost('other.example.com'));
    const before = { ...globalAgent.options };
    onTestFinished(() => {
      globalAgent.options.rejectUnauthorized = before.rejectUnauthorized;
      globalAgent.options.checkServerIdentity = before.checkServerIdentity;
    });
    globalAgent.options.rejectUnauthorized = false;
    globalAgent.options.checkServerIdentity = () => undefined;
    const http = createHttpFetch({ origin: '', headers: {} });
    onTestFinished(() => http.close());
    for (const url of [server.origin, `https://mcp.example.com:${other.port}`]) {
      for (const ask of [() => send(url, { method: 'GET' }), () => http.fetch(url)]) {
        const error = await failing(ask());
        expect(error.message).toContain('its certificate is not trusted here');
      }
    }
    expect([...server.log, ...other.log]).toEqual([]);
  });

  test('obeys the host program’s own check of server identity', async () => {
    const server = await hostileServer({ '*': answer(200) }, remoteHost('mcp.example.com'));
    const { checkServerIdentity } = globalAgent.options;
    onTestFinished(() => void (globalAgent.options.checkServerIdentity = checkServerIdentity));
    globalAgent.options.checkServerIdentity = () => new Error('It is not the pinned one.');
    expect(await failing(send(server.origin, { method: 'GET' }))).toMatchObject({
      code: 'network',
      unsent: true,
    });
    expect(server.log).toEqual([]);
  });
});
