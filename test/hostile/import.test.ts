import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.ts';
import { SOURCES } from '../../src/import/sources.ts';
import { peerHome } from '../import/peer-home.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { holdfast as start } from '../support/processes/process.ts';
import { ENTER, HOLDFAST, NO_TERMINAL, terminal } from '../support/sandbox/sandbox-terminal.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/* A login of another program goes to nobody but the server that issued it. */

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

/** The login without what says which server it is for, and a repository that says so. */
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

/** The store without the login of the name `other`. */
const ALONE = {
  opencode: (text: string) => JSON.stringify({ notion: JSON.parse(text).notion }),
  gemini: (text: string) => JSON.stringify([JSON.parse(text)[0]]),
  goose: (text: string) => text.slice(0, text.indexOf('oauth_creds_other')),
};

describe('files of the current directory', () => {
  test.each(Object.entries(NAMELESS))('do not say which server a login of %s is for', async (id, about) => {
    const { peer, holdfast } = await person(id);
    const { store, without, repository } = about;
    if (store !== '') {
      const file = join(peer.directory, store);
      await writeFile(file, without(await readFile(file, 'utf8')));
    }
    // The person's own configuration of goose would say it.
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
  });

  test('are not read in place of the person’s own when HOME is empty', async () => {
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

describe.each(Object.entries(KEEPS_NAMES))('the logins of %s that do not say their server', (id, about) => {
  /** Two of them, `notion` and `other`, or the first alone. */
  async function nameless(which: 'both' | 'one') {
    const home = await person(id);
    const file = join(home.peer.directory, about.store);
    const text = about.without(await readFile(file, 'utf8'));
    await writeFile(file, which === 'both' ? text : ALONE[id as keyof typeof ALONE](text));
    await writeFile(join(home.peer.directory, '.config/goose/config.yaml'), '').catch(() => {});
    return { ...home, args: ['import', id, '--yes', '--issuer', servers.issuer, '--url', servers.resource] };
  }

  test('are not guessed: of two, --url takes none, and the error lists both and asks for a name', async () => {
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

  test('are moved by their name, and the other one stays', async () => {
    const { holdfast, peer, args } = await nameless('both');
    const moved = await holdfast([...args, '--name', 'notion']);
    expect(moved).toMatchObject({ code: 0, err: expect.stringContaining('Moved') });
    const left = Object.values(await peer.files()).join();
    expect(left).not.toContain(peer.login.tokens.refresh_token);
    expect(left).toContain('other-refresh');
  });

  test('are moved by --url where there is only one', async () => {
    const { holdfast, args } = await nameless('one');
    expect(await holdfast(args)).toMatchObject({ code: 0, err: expect.stringContaining('Moved') });
  });

  test('are none of the name that is given', async () => {
    const { holdfast, args } = await nameless('one');
    const { code, err } = await holdfast([...args, '--name', 'another']);
    expect(code).toBe(2);
    expect(err).toContain('has no login of the name "another"');
  });
});

test('a login without a server is left alone where another one says that it is for the URL', async () => {
  const { holdfast, peer } = await person('opencode');
  const file = join(peer.directory, NAMELESS.opencode.store);
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace(/,\s*"serverUrl": "https:\/\/other[^"]*"/, ''));
  const args = ['import', 'opencode', '--yes', '--issuer', servers.issuer, '--url', servers.resource];
  expect(await holdfast(args)).toMatchObject({ code: 0, err: expect.stringContaining('Moved the login') });
  expect(await readFile(file, 'utf8')).toContain('other-refresh');
});

describe('a login that does not say who issued it', () => {
  test('leaves its refresh token where it is, says why and which host would get it, when nobody is asked', async () => {
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

  test('says so in JSON', async () => {
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

  test('is not imported at all when its access token has expired, and nothing is sent', async () => {
    const { peer, holdfast } = await person('claude-code', { expiresAt: Date.now() - 1000 });
    const before = await peer.files();
    const { code, err } = await holdfast(['import', 'claude-code', '--yes', '--url', servers.resource]);
    expect(code).toBe(2);
    expect(err).toContain('has not recorded who issued the login');
    expect(err).toContain(new URL(servers.issuer).host);
    expect(await peer.files()).toEqual(before);
  });

  test('goes nowhere when the issuer that the person names is not the one that the server names', async () => {
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

describe.skipIf(NO_TERMINAL !== undefined)('on a terminal, a login that does not say who issued it', () => {
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

  test('is moved by one answer, after the host is shown that gets its refresh token', async () => {
    const { shown, words, peer } = await importing('opencode', `--url ${servers.resource}`);
    const { host } = new URL(servers.issuer);
    expect(words()).toContain(`Its refresh token will be sent to "${host}" ("${servers.issuer}").`);
    shown.type(`y${ENTER}`);
    expect(await shown.ended).toBe(0);
    expect(words()).toContain('Moved the login');
    expect(words().split('[y/N]')).toHaveLength(2);
    expect(Object.values(await peer.files()).join()).not.toContain(peer.login.tokens.refresh_token);
  });

  test.each(['n', '', 'yess'])('stays whole where it is, and is not here, after "%s"', async (answer) => {
    const { shown, words, peer, before, holdfast } = await importing('opencode', `--url ${servers.resource}`);
    shown.type(`${answer}${ENTER}`);
    expect(await shown.ended).toBe(130);
    expect(words()).toContain('Nothing was moved.');
    expect(words()).toContain('--access-token-only');
    expect(await peer.files()).toEqual(before);
    expect(JSON.parse((await holdfast(['list', '--json'])).out)).toMatchObject({ credentials: [] });
  });

  test('is asked about on its own, also where the server of another one cannot be reached', async () => {
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

test('holdfast import completes the name of every program whose logins it takes', () => {
  const { argument } = COMMANDS.find(({ name }) => name === 'import') ?? {};
  expect(argument?.choices?.toSorted()).toEqual([...SOURCES.map(({ id }) => id), '-'].toSorted());
});
