import { describe, expect, test } from 'vitest';
import { holdfast } from '../support/processes/process.ts';
import { statelessServer } from './sdk2-servers.ts';
import { client1, program, raw } from './through.ts';

const URL = 'https://mcp.example.com/mcp';

async function refused(...args: string[]): Promise<string> {
  const { code, out, err } = await holdfast(['proxy', ...args]).ended;
  expect([code, out]).toEqual([2, '']);
  return err.trimEnd();
}

describe('arguments that mcp-remote takes', () => {
  test.each<[string, string[], RegExp]>([
    ['no URL', [], /needs a URL/],
    ['no URL but a word', ['linear'], /"linear" is not a URL/],
    ['a port that is none', [URL, '99999'], /"99999" is not a port for the callback/],
    ['three arguments', [URL, '3334', 'more'], /takes one URL and one PORT, but got 3/],
    ['an option that is unknown', [URL, '--ignore-tool', 'x'], /has no option "--ignore-tool"/],
    [
      'a transport that is none',
      [URL, '--transport', 'carrier'],
      /--transport knows no "carrier"[^]*http-first, sse-first/,
    ],
    ['a host that is elsewhere', [URL, '--host', 'example.com'], /is not this machine/],
    ['a header without a name', [URL, '--header', 'secret-value'], /not of the form "Name: value"/],
    [
      'a header that the proxy sets',
      [URL, '--header', 'Content-Type: x'],
      /"Content-Type" is set by the proxy itself/,
    ],
    ['a variable that is not set', [URL, '--header', 'X-A: ${NOT_SET}'], /"NOT_SET", which is not set/],
    ['plain http to another machine', ['http://mcp.example.com/mcp'], /plain http[^]*--allow-http/],
  ])('says why it refuses %s', async (_, args, expected) => {
    const said = await refused(...args);
    expect(said).toMatch(expected);
    expect(said).not.toContain('secret-value');
  });
});

const command = program();

test('uses plain http with --allow-http, and says that it is in the clear', async () => {
  const server = await statelessServer();
  // An address of this machine that does not look local.
  const url = server.url.replace('127.0.0.1', '[::ffff:127.0.0.1]');
  expect(await refused(url)).toMatch(/plain http/);
  const proxy = raw(command, [url, '--allow-http']);
  expect((await proxy.begin()).result?.['serverInfo']).toMatchObject({ name: 'real' });
  expect(proxy.errors()).toMatch(/crosses the network in the clear, so no login is made or sent/);
});

test('logs requests without secrets with --debug', async () => {
  const server = await statelessServer();
  const proxy = raw(command, [server.url, '--debug', '--header', 'X-Key: ${KEY}'], { KEY: 'hush' });
  await proxy.begin();
  await proxy.end();
  expect(proxy.errors()).toMatch(/debug: POST "\/mcp" answered 200/);
  expect(proxy.errors()).not.toContain('hush');
});

test('accepts headers, the port and the other arguments of mcp-remote', async () => {
  const server = await statelessServer();
  const args = [
    server.url,
    '3334',
    '--header',
    'X-One: 1',
    '--header',
    'X-Two:${TWO}',
    '--host',
    'localhost',
  ];
  const client = await client1(command, [...args, '--allow-http', '--transport', 'http-first'], {
    TWO: 'zwei',
  });
  await client.callTool({ name: 'echo', arguments: { text: 'x' } });
  for (const { headers } of server.seen) expect(headers).toMatchObject({ 'x-one': '1', 'x-two': 'zwei' });
});
