import { describe, expect, test } from 'vitest';
import { UnsafeUrlError } from '../../src/errors.ts';
import { type Request, send } from '../../src/http/request.ts';
import { checkPublishedUrl, checkUrl, pointsHere } from '../../src/http/safe-url.ts';
import { failing } from '../support/failing.ts';

function get(url: string, request: Partial<Request> = {}) {
  return send(url, { method: 'GET', ...request });
}

describe('URL checks', () => {
  test.each([
    'http://mcp.example.com/',
    'http://10.0.0.1/',
    'http://127.0.0.1.example.com/',
    'http://0.0.0.0/',
    'ws://127.0.0.1/',
    'file:///etc/passwd',
    'javascript:alert(1)',
    'no url',
    'https://user:hunter2@mcp.example.com/',
    'ftp://user:hunter2@mcp.example.com/',
  ])('sends nothing to %s', async (url) => {
    for (const error of [await failing(get(url)), await failing(() => checkUrl(url))]) {
      expect(error).toBeInstanceOf(UnsafeUrlError);
      expect(error.message).not.toContain('hunter2');
    }
  });

  test.each([
    'https://mcp.example.com/',
    'http://127.0.0.1:8080/',
    'http://localhost/',
    'http://[::1]:8080/',
  ])('accepts %s', (url) => {
    expect(checkUrl(url).href).toBe(url);
  });

  test.each([
    'https://127.0.0.1',
    'https://127.1',
    'https://0x7f000001',
    'https://2130706433',
    'https://127.0.0.1.',
    'https://0.0.0.0',
    'https://[::1]',
    'https://[::]',
    'https://[::ffff:127.0.0.1]',
    'https://localhost',
    'https://LOCALHOST.',
    'https://mcp.localhost',
  ])('refuses %s, which leads to this machine, in a remote server’s metadata', async (url) => {
    expect(pointsHere(new URL(url))).toBe(true);
    const remote = new URL('https://mcp.example.com/mcp');
    const error = await failing(() => checkPublishedUrl(url, 'token endpoint', remote));
    expect(error).toBeInstanceOf(UnsafeUrlError);
    expect(error.message).toContain('on your own machine');
    expect(checkPublishedUrl(url, 'token endpoint', new URL('http://127.0.0.1/mcp'))).toEqual(new URL(url));
  });

  test.each([
    'https://mcp.example.com',
    'https://localhost.example.com',
    'https://128.0.0.1',
    'https://[::2]',
  ])('does not treat %s as this machine', (url) => {
    expect(pointsHere(new URL(url))).toBe(false);
  });
});
