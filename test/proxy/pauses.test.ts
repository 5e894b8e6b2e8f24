import { describe, expect, test } from 'vitest';
import { backOffMs } from '../../src/proxy/upstream/server-transport.ts';
import { hostileServer } from '../support/servers/hostile-server.ts';
import { program, raw } from './through.ts';

/* The server ends every stream at once and sends `retry: 0`. Minimum delays hold on slow machines too. */

const holdfast = program();

const HELLO = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'bad', version: '1' } };

describe('the delay before a reconnect', () => {
  test('waits a second at least, whatever the server asks for, and longer each time', () => {
    for (const retryMs of [undefined, 0, 1, 999]) {
      for (let failures = 0; failures < 30; failures += 1) {
        expect(backOffMs(failures, retryMs)).toBeGreaterThanOrEqual(1000);
        expect(backOffMs(failures, retryMs)).toBeLessThanOrEqual(42_000);
      }
      expect(backOffMs(20, retryMs)).toBeGreaterThanOrEqual(30_000);
    }
  });

  test('waits longer when the server asks for it, up to an hour', () => {
    expect(backOffMs(1, 60_000)).toBe(60_000);
    expect(backOffMs(1, 999_999_999)).toBe(3_600_000);
  });

  test('delays the reconnects of an answer’s stream and of the notification stream', async () => {
    const asked = { answer: [] as number[], unasked: [] as number[] };
    let enough = () => {};
    const over = new Promise<void>((resolve) => (enough = resolve));
    const server = await hostileServer({
      '/mcp': ({ method, headers, body }, response) => {
        const stream = { 'content-type': 'text/event-stream' };
        if (method === 'GET') {
          const which = String(headers['last-event-id']).startsWith('answer') ? 'answer' : 'unasked';
          asked[which].push(performance.now());
          if (asked.answer.length >= 3 && asked.unasked.length >= 3) enough();
          // A new id each time counts as progress.
          const id = `${which}-${asked[which].length}`;
          return void response.writeHead(200, stream).end(`id: ${id}\nretry: 0\n\n`);
        }
        const message = JSON.parse(body) as { id?: unknown; method?: string };
        if (message.id === undefined) return void response.writeHead(202).end();
        if (message.method !== 'initialize')
          return void response.writeHead(200, stream).end('id: answer-0\nretry: 0\ndata:\n\n');
        response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': 's' });
        response.end(JSON.stringify({ jsonrpc: '2.0', id: message.id, result: HELLO }));
      },
    });
    const proxy = raw(holdfast, [`${server.origin}/mcp`]);
    await proxy.begin();
    proxy.ask('tools/list').catch(() => {});
    await over;
    for (const times of Object.values(asked)) {
      for (const [index, at] of times.slice(1).entries())
        expect(at - (times[index] ?? 0)).toBeGreaterThan(900);
    }
    await proxy.end();
  });
});
