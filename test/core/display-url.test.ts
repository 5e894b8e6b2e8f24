import { expect, test } from 'vitest';
import { displayUrl, withDisplayUrls } from '../../src/display-url.ts';
import { NetworkError } from '../../src/errors.ts';

const KEY = '1000.4f1c9a77b2e84d0c9d53aa10cf6e21b8';

test.each([
  ['https://mcp.example.com/mcp', 'https://mcp.example.com/mcp'],
  ['https://mcp.example.com', 'https://mcp.example.com'],
  ['https://mcp.example.com/v1/projects/my-long-project-name-2026/mcp', undefined],
  ['https://mcp.example.com/model-context-protocol/production-servers/sse', undefined],
  ['http://127.0.0.1:8080/organizations/12345678/mcp', undefined],
  ['http://user:password@127.0.0.1:3128', undefined],
  ['postgres://USER@HOST/DATABASE', undefined],
  ['https://mcp.example.com/mcp?page=2&mode=full', undefined],
])('shows %s unchanged', (url, shown = url) => {
  expect(displayUrl(url)).toBe(shown);
});

test.each([
  [`https://zoho.example/mcp/message?key=${KEY}`, 'https://zoho.example/mcp/message?key=…'],
  [`https://zoho.example/mcp?${KEY}`, 'https://zoho.example/mcp?…'],
  [`https://zoho.example/mcp?a=1&${KEY}=1&token=x#${KEY}`, 'https://zoho.example/mcp?a=…&…&token=…#…'],
  [`https://zoho.example/mcp/${KEY}/message`, 'https://zoho.example/mcp/1000…/message'],
  ['https://x.example/s/3f2504e0-4f89-11d3-9a0c-0305e82c3301/sse', 'https://x.example/s/3f25…/sse'],
  ['https://x.example/AbCdEfGhIjKlMnOpQrStUvWx/mcp', 'https://x.example/AbCd…/mcp'],
  ['https://x.example/a1B2%2Bc3D4%2Fe5F6g7H8/mcp', 'https://x.example/a1B2…/mcp'],
  ['https://x.example/sk-ab12-cd34ef-gh56ij78/mcp', 'https://x.example/sk-a…/mcp'],
  ['https://x.example/mcp?page=2&x=hunter2', 'https://x.example/mcp?page=…&x=…'],
  ['https://x.example/mcp?page=2&key=open', 'https://x.example/mcp?page=…&key=…'],
  ['https://x.example/mcp?pin=1234', 'https://x.example/mcp?pin=…'],
  ['https://x.example/mcp?page=2&open', 'https://x.example/mcp?page=…&…'],
  ['https://x.example/mcp?q=correcthorse', 'https://x.example/mcp?q=…'],
  ['https://user:secret@x.example/mcp', 'https://x.example/mcp'],
  ['https://secret:password@x.example/mcp', 'https://x.example/mcp'],
  ['https://secret@user:password@x.example/mcp', 'https://x.example/mcp'],
  ['postgres://holdfast:secret@db.example/holdfast', 'postgres://db.example/holdfast'],
])('hides the possible secret in %s', (url, shown) => {
  expect(displayUrl(url)).toBe(shown);
  // A shortened URL is shortened to itself.
  expect(displayUrl(shown)).toBe(shown);
});

test('keeps words and punctuation around a shortened URL', () => {
  expect(withDisplayUrls(`See "https://a.example/x?key=${KEY}", or (https://b.example/?k=${KEY}).`)).toBe(
    'See "https://a.example/x?key=…", or (https://b.example/?k=…).',
  );
});

test('keeps the placeholders for user name and password in a hint', () => {
  const hint =
    'Set HTTPS_PROXY=http://user:password@127.0.0.1:3128, or use --store postgres://USER@HOST/DATABASE.';
  expect(withDisplayUrls(hint)).toBe(hint);
});

test('hides the key of a URL in an error’s message, hint and stack', () => {
  const url = `https://zoho.example/mcp/${KEY}?key=${KEY}`;
  const error = new NetworkError(`${url} cannot be reached.`, {
    hint: `Log in again: holdfast login '${url}'`,
  });
  expect(`${error.message} ${error.hint} ${error.stack}`).not.toContain(KEY.slice(8));
  expect(error.message).toBe('https://zoho.example/mcp/1000…?key=… cannot be reached.');
});
