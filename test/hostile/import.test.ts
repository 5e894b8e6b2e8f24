import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { commandNamed } from '../../src/cli/commands.ts';
import { SOURCES } from '../../src/import/sources.ts';
import { peerHome } from '../import/peer-home.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { holdfast as start } from '../support/processes/process.ts';
import { ENTER, HOLDFAST, NO_TERMINAL, terminal } from '../support/sandbox/sandbox-terminal.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/* A login of another program goes only to the server that issued it. */

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function person(id: string, options: { expiresAt?: number } = {}) {
  const peer = await peerHome(id, servers, options);
  const { path } = await temporaryHome();
  const variables = { HOME: peer.directory, HOLDFAST_HOME: path, HOLDFAST_KEYRING: 'file' };
  return {
    peer,
    variables,
    holdfast: (args: readonly string[], directory = peer.directory) =>
      start(args, variables, directory).ended,
  };
}

/** The login without the members that name its server, and a repository that names one. */
const NAMELESS = {
  opencode: {
    store: '.local/share/opencode/mcp-auth.json',
    without: (text: string) => text.replaceAll(/,\s*"serverUrl": "[^"]*"/g, ''),
    repository: {
      'opencode.json': (url: string) => JSON.stringify({ mcp: { notion: { type: 'remote', url } } }),
      'opencode.jsonc': (url: string) =>
        JSON.stringify({ mcp: { servers: { notion: { type: 'remote', url } } } }),
    },
  },
  gemini: {
    store: '.gemini/mcp-oauth-tokens.json',
    without: (text: string) => text.replaceAll(/"mcpServerUrl": "[^"]*",?/g, ''),
    repository: {
      '.gemini/settings.json': (url: string) => JSON.stringify({ mcpServers: { notion: { httpUrl: url } } }),
    },
  },
  goose: {
    store: '.config/goose/secrets.yaml',
    without: (text: string) => text,
    repository: {
      '.config/goose/config.yaml': (url: string) => `extensions:\n  notion:\n    uri: ${url}\n`,
      'goose/config.yaml': (url: string) => `extensions:\n  notion:\n    uri: ${url}\n`,
    },
  },
  'mcp-remote': {
    store: '',
    without: (text: string) => text,
    repository: {
      '.mcp.json': (url: string) => JSON.stringify({ mcpServers: { notion: { type: 'http', url } } }),
      '.cursor/mcp.json': (url: string) => JSON.stringify({ mcpServers: { notion: { url } } }),
      '.vscode/mcp.json': (url: string) => JSON.stringify({ servers: { notion: { url } } }),
      '.codex/config.toml': (url: string) => `[mcp_servers.notion]\nurl = "${url}"\n`,
      'opencode.json': (url: string) => JSON.stringify({ mcp: { notion: { type: 'remote', url } } }),
      '.gemini/settings.json': (url: string) => JSON.stringify({ mcpServers: { notion: { httpUrl: url } } }),
    },
  },
} as const;

/** The store without the login named `other`. */
const ALONE = {
  opencode: (text: string) => JSON.stringify({ notion: JSON.parse(text).notion }),
  gemini: (text: string) => JSON.stringify([JSON.parse(text)[0]]),
  goose: (text: string) => text.slice(0, text.indexOf('oauth_creds_other')),
};

describe('files of the current directory', () => {
  test.each(Object.entries(NAMELESS))(
    'does not take the server of a login of %s from files of the current directory',
    async (id, about) => {
      const { peer, holdfast } = await person(id);
      const { store, without, repository } = about;
      if (store !== '') {
        const file = join(peer.directory, store);
        await writeFile(file, without(await readFile(file, 'utf8')));
      }
      // The user's own goose configuration would name the server.
      await writeFile(join(peer.directory, '.config/goose/config.yaml'), '').catch(() => {});
      const clone = await temporaryDirectory();
      for (const [name, text] of Object.entries(repository)) {
        await mkdir(dirname(join(clone, name)), { recursive: true });
        await writeFile(join(clone, name), text(servers.resource));
      }
      const { code, err } = await holdfast(['import', id, '--yes', '--keyring', 'file'], clone);
      expect(code).not.toBe(0);
      expect(err).toContain('name it with --url URL');
      expect(err).not.toContain('Moved');
      expect(err).not.toContain('Took');
      const named = ['import', id, '--yes', '--url', servers.resource, '--issuer', servers.issuer];
      const moved = await holdfast(id === 'mcp-remote' ? named : [...named, '--name', 'notion'], clone);
      expect(moved).toMatchObject({ code: 0, err: expect.stringContaining('Moved') });
    },
  );

  test('does not read the current directory when HOME is empty', async () => {
    const { holdfast, peer, variables } = await person('opencode');
    const args = ['import', 'opencode', '--yes', '--json'];
    const { code, err } = await start(args, { ...variables, HOME: '' }, peer.directory).ended;
    expect(code).toBe(2);
    expect(JSON.parse(err)).toMatchObject({
      error: { message: expect.stringContaining('not an absolute path') },
    });
    expect(Object.values(await peer.files()).join()).toContain(peer.login.tokens.refresh_token);
    expect(JSON.parse((await holdfast(['list', '--json'])).out)).toMatchObject({ credentials: [] });
  });
});

const { 'mcp-remote': _, ...KEEPS_NAMES } = NAMELESS;

describe.each(Object.entries(KEEPS_NAMES))('logins of %s without a server', (id, about) => {
  /** Makes a home with two such logins, `notion` and `other`, or with the first only. */
  async function nameless(which: 'both' | 'one') {
    const home = await person(id);
    const file = join(home.peer.directory, about.store);
    const text = about.without(await readFile(file, 'utf8'));
    await writeFile(file, which === 'both' ? text : ALONE[id as keyof typeof ALONE](text));
    await writeFile(join(home.peer.directory, '.config/goose/config.yaml'), '').catch(() => {});
    return { ...home, args: ['import', id, '--yes', '--issuer', servers.issuer, '--url', servers.resource] };
  }

  test('lists two logins without a server and asks for a name', async () => {
    const { holdfast, peer, args } = await nameless('both');
    const before = await peer.files();
    const { code, err } = await holdfast(args);
    expect(code).toBe(2);
    expect(err).toMatch(
      /2 logins that do not say which server they are for: "notion" \(.*\), "other" \(.*\)\./,
    );
    expect(err).toContain('--name NAME');
    expect(await peer.files()).toEqual(before);
    expect(JSON.parse((await holdfast(['list', '--json'])).out)).toMatchObject({ credentials: [] });
  });

  test('moves the named login without a server, and keeps the other', async () => {
    const { holdfast, peer, args } = await nameless('both');
    const moved = await holdfast([...args, '--name', 'notion']);
    expect(moved).toMatchObject({ code: 0, err: expect.stringContaining('Moved') });
    const left = Object.values(await peer.files()).join();
    expect(left).not.toContain(peer.login.tokens.refresh_token);
    expect(left).toContain('other-refresh');
  });

  test('moves the only login without a server by --url', async () => {
    const { holdfast, args } = await nameless('one');
    expect(await holdfast(args)).toMatchObject({ code: 0, err: expect.stringContaining('Moved') });
  });

  test('finds no login under a wrong name', async () => {
    const { holdfast, args } = await nameless('one');
    const { code, err } = await holdfast([...args, '--name', 'another']);
    expect(code).toBe(2);
    expect(err).toContain('has no login of the name "another"');
  });
});

test('keeps a login without a server when another login is for the URL', async () => {
  const { holdfast, peer } = await person('opencode');
  const file = join(peer.directory, NAMELESS.opencode.store);
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace(/,\s*"serverUrl": "https:\/\/other[^"]*"/, ''));
  const args = ['import', 'opencode', '--yes', '--issuer', servers.issuer, '--url', servers.resource];
  expect(await holdfast(args)).toMatchObject({ code: 0, err: expect.stringContaining('Moved the login') });
  expect(await readFile(file, 'utf8')).toContain('other-refresh');
});

describe('a login without an issuer', () => {
  test('keeps the refresh token of a login without an issuer, and names the host that would get it', async () => {
    const { peer, holdfast } = await person('opencode');
    const before = await peer.files();
    const args = ['import', 'opencode', '--yes', '--url', servers.resource];
    const { code, err } = await holdfast(args);
    expect(code).toBe(0);
    expect(err).toContain('Took the access token');
    const host = new URL(servers.issuer).host;
    expect(err).toContain(
      `opencode has not recorded who issued that login, so its refresh token is still with opencode. It would be sent to "${host}"`,
    );
    expect(err).toContain(`--issuer ${servers.issuer}`);
    expect(await peer.files()).toEqual(before);
    expect((await holdfast(['token', servers.resource])).out.trim()).toBe(peer.login.tokens.access_token);

    const moved = await holdfast([...args, '--issuer', servers.issuer]);
    expect(moved).toMatchObject({ code: 0, err: expect.stringContaining('Moved the login') });
    expect(Object.values(await peer.files()).join()).not.toContain(peer.login.tokens.refresh_token);
  });

  test('reports the unconfirmed issuer in JSON', async () => {
    const { holdfast } = await person('codex');
    const { out } = await holdfast(['import', 'codex', '--yes', '--json', '--url', servers.resource]);
    expect(JSON.parse(out)).toMatchObject({
      imported: [
        {
          outcome: 'access-token',
          unconfirmed: { issuer: servers.issuer, tokenEndpoint: expect.stringMatching(/^http/) },
          credential: { canRefresh: false },
        },
      ],
    });
  });

  test('does not import an expired login without an issuer, and sends nothing', async () => {
    const { peer, holdfast } = await person('claude-code', { expiresAt: Date.now() - 1000 });
    const before = await peer.files();
    const { code, err } = await holdfast(['import', 'claude-code', '--yes', '--url', servers.resource]);
    expect(code).toBe(2);
    expect(err).toContain('has not recorded who issued the login');
    expect(err).toContain(new URL(servers.issuer).host);
    expect(await peer.files()).toEqual(before);
  });

  test('refuses an issuer that the server does not name', async () => {
    const { peer, holdfast } = await person('opencode');
    const before = await peer.files();
    const args = ['import', 'opencode', '--yes', '--url', servers.resource, '--issuer'];
    const { code, err } = await holdfast([...args, 'https://auth.example.com']);
    expect(code).toBe(5);
    expect(err).toContain('"https://auth.example.com"');
    expect(err).toContain(servers.issuer);
    expect(await peer.files()).toEqual(before);
    expect(await holdfast([...args, 'auth.example.com'])).toMatchObject({ code: 2 });
  });
});

describe.skipIf(NO_TERMINAL !== undefined)('a login without an issuer, on a terminal', () => {
  const QUESTION = 'Move it? Say yes only if you logged in there. [y/N]';

  async function importing(id: string, args: string) {
    const { variables, peer, holdfast } = await person(id);
    const before = await peer.files();
    const shown = terminal(`${HOLDFAST} import ${id} ${args}`, variables);
    onTestFinished(() => shown.type('\u0003'));
    await shown.shows(QUESTION);
    const words = () => shown.shown().replaceAll(/\s+/g, ' ');
    return { shown, words, peer, before, holdfast };
  }

  test('shows the host that gets the refresh token, then moves the login after one answer', async () => {
    const { shown, words, peer } = await importing('opencode', `--url ${servers.resource}`);
    const { host } = new URL(servers.issuer);
    expect(words()).toContain(`Its refresh token will be sent to "${host}" ("${servers.issuer}").`);
    shown.type(`y${ENTER}`);
    expect(await shown.ended).toBe(0);
    expect(words()).toContain('Moved the login');
    expect(words().split('[y/N]')).toHaveLength(2);
    expect(Object.values(await peer.files()).join()).not.toContain(peer.login.tokens.refresh_token);
  });

  test.each(['n', '', 'yess'])('moves nothing after the answer "%s"', async (answer) => {
    const { shown, words, peer, before, holdfast } = await importing('opencode', `--url ${servers.resource}`);
    shown.type(`${answer}${ENTER}`);
    expect(await shown.ended).toBe(130);
    expect(words()).toContain('Nothing was moved.');
    expect(words()).toContain('--access-token-only');
    expect(await peer.files()).toEqual(before);
    expect(JSON.parse((await holdfast(['list', '--json'])).out)).toMatchObject({ credentials: [] });
  });

  test('moves one login when the server of another cannot be reached', async () => {
    const { shown, words, peer } = await importing('opencode', '');
    expect(words()).toContain('To import moves 2 logins of opencode');
    shown.type(`y${ENTER}`);
    expect(await shown.ended).toBe(5);
    expect(words()).toContain('Moved the login');
    const left = Object.values(await peer.files()).join();
    expect(left).not.toContain(peer.login.tokens.refresh_token);
    expect(left).toContain('other-refresh');
  });
});

test('completes the name of every program whose logins import accepts', async () => {
  const { argument } = (await commandNamed('import')) ?? {};
  expect(argument?.choices?.toSorted()).toEqual([...SOURCES.map(({ id }) => id), '-'].toSorted());
});
