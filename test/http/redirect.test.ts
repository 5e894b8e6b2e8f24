import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { TimeoutError, UnsafeUrlError } from '../../src/errors.ts';
import { type Request, send } from '../../src/http/request.ts';
import { failing } from '../support/failing.ts';
import { remoteHost } from '../support/network/remote-host.ts';
import { answer, type Handler, hostileServer } from '../support/servers/hostile-server.ts';

function get(url: string, request: Partial<Request> = {}) {
  return send(url, { method: 'GET', ...request });
}

describe('a redirect', () => {
  const to = (location: string, status = 302) => answer(status, 'moved', { location });

  test('follows a redirect of a GET, three times at most', async () => {
    const server = await hostileServer({
      '/1': to('/2', 301),
      '/2': to('3', 307),
      '/3': to('/4?x=y', 308),
      '/4': answer(200, 'here'),
      '/0': to('/1', 303),
    });
    const response = await get(`${server.origin}/1`);
    expect([response.url, response.status]).toEqual([`${server.origin}/4?x=y`, 200]);
    expect(server.requests).toEqual(['GET /1', 'GET /2', 'GET /3', 'GET /4?x=y']);
    const error = await failing(get(`${server.origin}/0`));
    expect(error).toBeInstanceOf(UnsafeUrlError);
    expect(error.message).toContain('more than 3 times');
    expect(server.requests.slice(4)).toEqual(['GET /0', 'GET /1', 'GET /2', 'GET /3']);
  });

  test('does not follow a redirect of a POST', async () => {
    const server = await hostileServer({ '/': to('/else', 307), '/else': answer(200) });
    const response = await send(server.origin, { method: 'POST', body: 'secret' });
    expect(response.status).toBe(307);
    expect(server.requests).toEqual(['POST /']);
  });

  test('returns a redirect without a target, or with another status, like any other answer', async () => {
    const server = await hostileServer({ '/a': answer(302, 'x'), '/b': answer(304, '', { location: '/c' }) });
    expect((await get(`${server.origin}/a`)).status).toBe(302);
    expect((await get(`${server.origin}/b`)).status).toBe(304);
  });

  test('applies one timeout to all steps of a redirect', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const slowly =
      (location: string): Handler =>
      (request, response) => {
        vi.advanceTimersByTime(500);
        return to(location)(request, response);
      };
    const server = await hostileServer({
      '/1': slowly('/2'),
      '/2': slowly('/3'),
      '/3': slowly('/4'),
      '/4': {},
    });
    expect(await failing(get(`${server.origin}/1`, { timeoutMs: 1200 }))).toBeInstanceOf(TimeoutError);
    expect(server.requests).toEqual(['GET /1', 'GET /2', 'GET /3']);
  });

  test.each([
    'http://mcp.example.com/',
    'javascript:alert(1)',
    'file:///etc/passwd',
    'data:application/json,{}',
    'ftp://127.0.0.1/',
    '//mcp.example.com/',
    'http://user:hunter2@127.0.0.1/',
    'http://',
  ])('refuses a redirect to %s and does not request it', async (location) => {
    const server = await hostileServer({ '/': to(location) });
    const error = await failing(get(server.origin));
    expect(error).toBeInstanceOf(UnsafeUrlError);
    expect(error.message).not.toContain('hunter2');
    expect(server.requests).toEqual(['GET /']);
  });

  test('refuses a redirect from https to http, to this machine too', async () => {
    const here = await hostileServer({ '*': answer(200) });
    const server = await hostileServer({ '/': to(`${here.origin}/x`) }, remoteHost('mcp.example.com'));
    const error = await failing(get(server.origin));
    expect(error).toBeInstanceOf(UnsafeUrlError);
    expect(error.message).toContain('which is not https');
    expect(here.log).toEqual([]);
  });

  test('refuses a redirect from another machine to this one', async () => {
    const here = await hostileServer({ '*': answer(200) }, remoteHost('localhost'));
    const server = await hostileServer({ '/': to(`${here.origin}/x`) }, remoteHost('mcp.example.com'));
    const error = await failing(get(server.origin));
    expect(error).toBeInstanceOf(UnsafeUrlError);
    expect(error.message).toContain('on your own machine');
    expect(here.log).toEqual([]);
    // A user who names the same target directly may use it.
    expect((await get(`${here.origin}/x`)).status).toBe(200);
  });

  test('follows a redirect to another https host', async () => {
    const other = await hostileServer({ '/x': answer(200, 'there') }, remoteHost('as.example.com'));
    const server = await hostileServer({ '/': to(`${other.origin}/x`) }, remoteHost('mcp.example.com'));
    expect((await get(server.origin)).url).toBe(`${other.origin}/x`);
  });
});
