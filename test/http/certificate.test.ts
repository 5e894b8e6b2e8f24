import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { connectProxy } from '../support/connect-proxy.ts';
import { temporaryDirectory } from '../support/home.ts';
import { answer, hostileServer } from '../support/hostile-server.ts';
import { runScript } from '../support/process.ts';
import { type RemoteHost, remoteHost } from '../support/remote-host.ts';

/* Node reads NODE_EXTRA_CA_CERTS once, when it starts, so each request here is a process of its own. */

async function request(url: string, variables: Readonly<Record<string, string>>): Promise<unknown> {
  return JSON.parse((await runScript('request-process.ts', [url], variables)).out);
}

/** A certificate that no public authority has signed, and a file that trusts it. */
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

describe('a server with a certificate authority of its own', () => {
  it('is asked where NODE_EXTRA_CA_CERTS names the authority, and refused where it does not', async () => {
    const { tls, trust } = await ownAuthority('localhost');
    const server = await hostileServer({ '*': answer(200) }, tls);
    expect(await request(server.origin, {})).toEqual(refused);
    expect(server.log).toEqual([]);
    expect(await request(server.origin, (await ownAuthority('localhost')).trust)).toEqual(refused);
    expect(await request(server.origin, trust)).toEqual({ status: 200, reached: 'anywhere' });
    expect(server.requests).toEqual(['GET /']);
  });

  it('is the same through a proxy', async () => {
    const { tls, trust } = await ownAuthority('mcp.example.com');
    const server = await hostileServer({ '*': answer(200) }, tls);
    const proxy = await connectProxy();
    const through = { HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` };
    expect(await request(server.origin, through)).toEqual(refused);
    expect(server.log).toEqual([]);
    expect(await request(server.origin, { ...through, ...trust })).toEqual({ status: 200 });
    expect(proxy.targets).toEqual(Array(2).fill(`mcp.example.com:${server.port}`));
  });

  it('may be the proxy', async () => {
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
