import { describe, expect, test } from 'vitest';
import { failed, goodLogin } from '../../support/homes/good-login.ts';
import { answer, hostileServer, json, type Routes, stream } from '../../support/servers/hostile-server.ts';
import { startServers } from '../../support/servers/servers.ts';

const good = goodLogin();

describe('holdfast login with an argument or setting that it cannot trust', () => {
  const WHOLE = 'Give the whole URL of the MCP server, such as https://mcp.example.com/mcp';
  const CLEAR = 'Tokens would cross the network in the clear. Use https://';
  const URL_OF_A_SERVER = 'https://mcp.example.com/mcp';

  test.each<[what: string, args: string[], message: string, hint: string]>([
    ['not a URL', ['nonsense'], '"nonsense" is not a URL.', WHOLE],
    [
      'a URL of another kind',
      ['ftp://mcp.example.com/mcp'],
      '"ftp://mcp.example.com/mcp" is not an http or https URL.',
      'Remote MCP servers are reached over https.',
    ],
    [
      'plain http to another host',
      ['http://mcp.example.com/mcp'],
      '"http://mcp.example.com/mcp" is plain http to a host that is not this machine.',
      `${CLEAR}mcp.example.com/mcp`,
    ],
    [
      'plain http to a host that only looks like this machine',
      ['http://127.0.0.1.example.com/'],
      '"http://127.0.0.1.example.com/" is plain http to a host that is not this machine.',
      `${CLEAR}127.0.0.1.example.com/`,
    ],
    [
      'a URL with a fragment',
      ['https://mcp.example.com/mcp#x'],
      '"https://mcp.example.com/mcp#…" has a fragment.',
      'An MCP server is named without one (RFC 8707 section 2): leave out the # and what follows.',
    ],
    [
      'a control character in an account',
      [URL_OF_A_SERVER, '--account', 'a\u001b[2Jb'],
      '"a\\u{1b}[2Jb" cannot name an account.',
      'Use 1 to 128 printable characters, such as --account work',
    ],
    [
      'a time that is none',
      [URL_OF_A_SERVER, '--timeout', 'soon'],
      '--timeout "soon" is not a whole number from 1 to 86400.',
      'See: holdfast login --help',
    ],
  ])('refuses before any request: %s', async (_what, args, message, hint) => {
    const at = await good.home();
    expect(await good.unharmed(at, () => at.run(['login', ...args]))).toBe(failed(2, message, hint));
  });

  test('refuses a relative HOLDFAST_HOME', async () => {
    const at = await good.home();
    const variables = { HOLDFAST_HOME: 'here' };
    expect(await good.unharmed(at, () => at.run(['login', URL_OF_A_SERVER], variables))).toBe(
      failed(
        2,
        'The directory for credentials, "here", is not an absolute path.',
        'Set HOLDFAST_HOME to a path that starts at the root.',
      ),
    );
  });

  test('refuses an unknown keyring', async () => {
    const at = await good.home();
    const variables = { HOLDFAST_KEYRING: 'pass' };
    const told = await good.unharmed(at, () => at.run(['login', URL_OF_A_SERVER], variables));
    expect(told).toContain(failed(2, 'There is no keyring "pass".', 'Choose one of: auto, native, '));
  });

  test('refuses a URL with a password, and does not repeat it', async () => {
    const at = await good.home();
    const told = await good.unharmed(at, () => at.run(['login', 'https://ada:hunter2@mcp.example.com/mcp']));
    expect(told).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: The URL carries a user name or password.
        Leave them out; Holdfast logs in by OAuth."
    `);
    expect(told).not.toContain('hunter2');
  });
});

/** The routes of a server at which a login succeeds; each case replaces one of them. */
function wellBehaved(origin: string): Record<string, object> {
  return {
    '/mcp': answer(401, '', { 'www-authenticate': 'Bearer' }),
    '/.well-known/oauth-protected-resource/mcp': {
      resource: `${origin}/mcp`,
      authorization_servers: [origin],
    },
    '/.well-known/oauth-authorization-server': metadata(origin),
  };
}

const PLACE = '/.well-known/oauth-authorization-server';

function metadata(origin: string, changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    issuer: origin,
    authorization_endpoint: `${origin}/authorize`,
    token_endpoint: `${origin}/token`,
    registration_endpoint: `${origin}/register`,
    response_types_supported: ['code'],
    code_challenge_methods_supported: ['S256'],
    ...changes,
  };
}

const MEBIBYTE = ' '.repeat(1024 * 1024);

describe('holdfast login at a faulty server', () => {
  const ORIGIN = 'http://127.0.0.1:PPPPP';
  const TELL = 'It was not used. Tell who runs the server.';

  test.each<[what: string, spoilt: (origin: string) => Routes, message: string, hint: string]>([
    [
      'is a web site',
      () => ({ '*': answer(200, '<h1>Welcome</h1>', { 'content-type': 'text/html' }) }),
      `"${ORIGIN}/mcp" answers without a login (HTTP 200), and publishes nothing to log in to.`,
      'It needs no login, or it is not an MCP server. Check the URL.',
    ],
    [
      'is something else',
      () => ({ '*': answer(404) }),
      `"${ORIGIN}/mcp" does not answer like an MCP server (HTTP 404, no authorization metadata).`,
      'Check the URL, the path included: it is mostly https://…/mcp or https://…/sse',
    ],
    [
      'is in trouble',
      () => ({ '*': answer(503) }),
      '"127.0.0.1:PPPPP" answered HTTP 503.',
      'The server is in trouble. Try again in a moment.',
    ],
    [
      'sends one elsewhere',
      () => ({ '/mcp': answer(307, '', { location: 'https://mcp.example.com/mcp' }) }),
      `"${ORIGIN}/mcp" redirects to "https://mcp.example.com/mcp".`,
      'Log in at that URL, if you trust it: a login is bound to the URL that it was made for.',
    ],
    [
      'publishes 50 MB of metadata',
      () => ({ [PLACE]: stream(MEBIBYTE, { limit: 50 * MEBIBYTE.length }).handler }),
      `"${ORIGIN}${PLACE}" answered with more than 1024 KiB; reading stopped there.`,
      'No document of this protocol is that large. Check that the URL is the MCP server’s.',
    ],
    [
      'publishes metadata that never ends',
      () => ({ [PLACE]: stream(' '.repeat(65_536)).handler }),
      `"${ORIGIN}${PLACE}" answered with more than 1024 KiB; reading stopped there.`,
      'No document of this protocol is that large. Check that the URL is the MCP server’s.',
    ],
    [
      'publishes metadata that is no JSON',
      () => ({ [PLACE]: answer(200, '{', { 'content-type': 'application/json' }) }),
      `What "${ORIGIN}${PLACE}" answers is not JSON.`,
      'Check the URL of the MCP server. If it is right, tell who runs it.',
    ],
    [
      'publishes JSON that is no object',
      () => ({ [PLACE]: json(['an', 'array']) }),
      `What "${ORIGIN}${PLACE}" answers is JSON, but not an object.`,
      'Check the URL of the MCP server. If it is right, tell who runs it.',
    ],
    [
      'is another issuer than it was found at',
      (origin) => ({ [PLACE]: metadata(origin, { issuer: 'https://as.example.com' }) }),
      `The authorization server at "${ORIGIN}${PLACE}" calls itself "https://as.example.com", not "${ORIGIN}".`,
      "One server may be posing as another (RFC 8414 section 3.3), so nothing was sent to it. Tell who runs the MCP server. If you know that it is right: --trusted-issuer 'https://as.example.com'",
    ],
    [
      'knows no PKCE',
      (origin) => ({ [PLACE]: metadata(origin, { code_challenge_methods_supported: ['plain'] }) }),
      `"${ORIGIN}" does not say that it supports PKCE with S256.`,
      'MCP clients must refuse such a server (RFC 7636, MCP authorization). Tell who runs it.',
    ],
    [
      'names a script to be opened',
      (origin) => ({ [PLACE]: metadata(origin, { authorization_endpoint: 'javascript:alert(1)' }) }),
      'The server names the authorization endpoint "javascript:alert(1)", which is neither http nor https.',
      TELL,
    ],
    [
      'names a file to be opened',
      (origin) => ({ [PLACE]: metadata(origin, { authorization_endpoint: 'file:///etc/passwd' }) }),
      'The server names the authorization endpoint "file:///etc/passwd", which is neither http nor https.',
      TELL,
    ],
    [
      'names a shell command to be opened',
      (origin) => ({ [PLACE]: metadata(origin, { authorization_endpoint: 'https://as.example.com/$(id)' }) }),
      `The authorization endpoint of "${ORIGIN}" holds characters that a shell would act on: "https://as.example.com/$(id)".`,
      'It was not opened. Tell who runs the server.',
    ],
    [
      'wants the code at a place that is not https',
      (origin) => ({ [PLACE]: metadata(origin, { token_endpoint: 'http://as.example.com/token' }) }),
      'The server names the token endpoint "http://as.example.com/token", which is not https.',
      TELL,
    ],
    [
      'registers nobody, in the colour of danger',
      (origin) => ({
        [PLACE]: metadata(origin),
        '/register': json({ error: 'access_denied', error_description: 'by \u001b[31minvitation' }, 403),
      }),
      `"${ORIGIN}" refused to register Holdfast: it answered "access_denied": "by \\u{1b}[31minvitation".`,
      'Tell who runs the server, or ask them for a client that is registered by hand.',
    ],
  ])('explains the failure at a server that %s', async (_what, spoilt, message, hint) => {
    const at = await good.home();
    const { origin } = await hostileServer((its) => {
      const routes = spoilt(its);
      return '*' in routes ? routes : { ...wellBehaved(its), ...routes };
    });
    expect(await good.unharmed(at, () => at.run(['login', `${origin}/mcp`]))).toBe(failed(5, message, hint));
  });

  test('says that a server cannot be reached', async () => {
    const at = await good.home();
    const gone = await startServers();
    await gone.stop();
    expect(await good.unharmed(at, () => at.run(['login', gone.resource]))).toMatchInlineSnapshot(`
      "exit 5
      --- stderr
      error: "127.0.0.1:PPPPP" cannot be reached (ECONNREFUSED).
        Check the address and the network connection, then try again."
    `);
  });

  test('fails when the server issues no access token', async () => {
    const at = await good.home();
    await good.servers.behave({ token: 'no-access-token', times: 1 });
    expect(
      await good.unharmed(at, () => at.run(['login', good.servers.resource, '-a', 'b'])),
    ).toMatchInlineSnapshot(`
      "exit 5
      --- stderr
      error: The token endpoint of "http://127.0.0.1:AUTH1" gave no access_token.
        Tell who runs the server."
    `);
  });

  test('fails when the server denies consent', async () => {
    const at = await good.home();
    const deny = { HOLDFAST_TEST_BROWSER: 'deny' };
    expect(
      await good.unharmed(at, () => at.run(['login', good.servers.resource], deny)),
    ).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      error: "http://127.0.0.1:AUTH1" says that access was denied: "End-User aborted interaction".
        If that was not meant, log in again and allow it."
    `);
    expect(
      await good
        .unharmed(at, () => at.run(['login', good.servers.resource, '--json'], deny))
        .then((told) => told.split('\n').at(-1)),
    ).toMatchInlineSnapshot(
      `"{"error":{"code":"login-denied","message":"\\"http://127.0.0.1:AUTH1\\" says that access was denied: \\"End-User aborted interaction\\".","hint":"If that was not meant, log in again and allow it.","retryable":false}}"`,
    );
  });
});
