import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  CLIENTS,
  type Client,
  type ClientId,
  type ProjectContext,
  type Scope,
} from '../../src/configure/clients.ts';
import { configure, entriesOf, fileOf, unconfigure, type Wanted } from '../../src/configure/configure.ts';
import { serverName } from '../../src/configure/server-name.ts';
import { processEnvironment } from '../../src/system/environment.ts';
import { readClientFile, replaceClientFile } from '../../src/system/files/client-file.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { requirement } from '../support/requirement.ts';
import * as files from './files.ts';

const ROOT = requirement('it is not run as root', process.geteuid?.() === 0);
const NOTION = 'https://mcp.notion.com/mcp';

function client(id: ClientId): Client {
  return CLIENTS.find((one) => one.id === id) as Client;
}

async function wanted(id: ClientId, changes: Partial<Wanted> = {}): Promise<Wanted> {
  return {
    client: client(id),
    login: { resource: NOTION, account: 'default' },
    file: join(await temporaryDirectory(), 'config'),
    scope: 'user',
    program: ['holdfast'],
    ...changes,
  };
}

const read = (file: string) => readFile(file, 'utf8');

function placeOn(platform: NodeJS.Platform, variables: Record<string, string> = {}): ProjectContext {
  return {
    environment: { ...processEnvironment(), platform, variables, homeDirectory: '/home/me' },
    directory: '/repo',
  };
}

describe('the file of each client', () => {
  test.each<[ClientId, NodeJS.Platform, Scope, string | undefined]>([
    ['claude-code', 'linux', 'user', '/home/me/.claude.json'],
    ['claude-code', 'linux', 'project', '/repo/.mcp.json'],
    ['claude-desktop', 'linux', 'user', '/home/me/.config/Claude/claude_desktop_config.json'],
    [
      'claude-desktop',
      'darwin',
      'user',
      '/home/me/Library/Application Support/Claude/claude_desktop_config.json',
    ],
    ['claude-desktop', 'win32', 'user', '/home/me/AppData/Roaming/Claude/claude_desktop_config.json'],
    ['claude-desktop', 'linux', 'project', undefined],
    ['cursor', 'darwin', 'user', '/home/me/.cursor/mcp.json'],
    ['cursor', 'darwin', 'project', '/repo/.cursor/mcp.json'],
    ['vscode', 'linux', 'user', '/home/me/.config/Code/User/mcp.json'],
    ['vscode', 'darwin', 'user', '/home/me/Library/Application Support/Code/User/mcp.json'],
    ['vscode', 'linux', 'project', '/repo/.vscode/mcp.json'],
    ['codex', 'linux', 'user', '/home/me/.codex/config.toml'],
    ['codex', 'linux', 'project', '/repo/.codex/config.toml'],
    ['gemini', 'linux', 'user', '/home/me/.gemini/settings.json'],
    ['gemini', 'linux', 'project', '/repo/.gemini/settings.json'],
    ['opencode', 'linux', 'user', '/home/me/.config/opencode/opencode.json'],
    ['opencode', 'linux', 'project', '/repo/opencode.json'],
    ['docker-agent', 'linux', 'user', undefined],
  ])('finds the file of %s on %s, scope %s', async (id, platform, scope, path) => {
    expect(await fileOf(client(id), scope, placeOn(platform))).toBe(path);
  });

  test('follows the variables that move the client’s file', async () => {
    const place = placeOn('linux', {
      CLAUDE_CONFIG_DIR: '/c',
      CODEX_HOME: '/x',
      GEMINI_CLI_HOME: '/g',
      XDG_CONFIG_HOME: '/xdg',
    });
    const all = await Promise.all(CLIENTS.map((one) => fileOf(one, 'user', place)));
    expect(all).toEqual([
      '/c/.claude.json',
      '/xdg/Claude/claude_desktop_config.json',
      '/home/me/.cursor/mcp.json',
      '/xdg/Code/User/mcp.json',
      '/x/config.toml',
      '/g/.gemini/settings.json',
      '/xdg/opencode/opencode.json',
      undefined,
    ]);
  });

  test('prefers opencode.jsonc when it exists', async () => {
    const directory = await temporaryDirectory();
    const place = { ...placeOn('linux'), directory };
    await writeFile(join(directory, 'opencode.jsonc'), '{}');
    expect(await fileOf(client('opencode'), 'project', place)).toBe(join(directory, 'opencode.jsonc'));
  });
});

describe('the entry of each client', () => {
  test.each<[ClientId, string, (values: unknown) => unknown]>([
    [
      'claude-code',
      files.CLAUDE_CODE,
      () => ({ type: 'stdio', command: 'holdfast', args: ['proxy', NOTION] }),
    ],
    ['claude-desktop', files.CLAUDE_DESKTOP, () => ({ command: 'holdfast', args: ['proxy', NOTION] })],
    ['cursor', '{"mcpServers":{}}', () => ({ command: 'holdfast', args: ['proxy', NOTION] })],
    ['vscode', files.VSCODE, () => ({ type: 'stdio', command: 'holdfast', args: ['proxy', NOTION] })],
    ['codex', files.CODEX, () => ({ command: 'holdfast', args: ['proxy', NOTION] })],
    ['gemini', files.GEMINI, () => ({ command: 'holdfast', args: ['proxy', NOTION] })],
    ['opencode', files.OPENCODE, () => ({ type: 'local', command: ['holdfast', 'proxy', NOTION] })],
    [
      'docker-agent',
      files.DOCKER_AGENT,
      () => ({ type: 'mcp', command: 'holdfast', args: ['proxy', NOTION] }),
    ],
  ])('adds the entry of %s, finds it, and changes nothing the second time', async (id, text, entry) => {
    const request = await wanted(id);
    await writeFile(request.file, text);
    const added = await configure(request);
    expect(added).toMatchObject({ action: 'added', entry: entry(undefined) });
    const after = await read(request.file);
    expect(await entriesOf(request.client, request.file, ['holdfast'])).toEqual([
      {
        name: id === 'docker-agent' ? 'mcp' : 'notion',
        resource: NOTION,
        account: 'default',
        kind: 'proxy',
      },
    ]);
    const { mtimeMs } = await stat(request.file);
    expect(await configure(request)).toMatchObject({ action: 'unchanged' });
    expect((await stat(request.file)).mtimeMs).toBe(mtimeMs);
    expect(await read(request.file)).toBe(after);
    expect(await unconfigure(request)).toMatchObject({ action: 'removed' });
    expect(await read(request.file)).toBe(text);
    expect(await unconfigure(request)).toMatchObject({ action: 'absent' });
    expect(await readdir(join(request.file, '..'))).toEqual(['config']);
  });

  test('nests the entry for opencode 2 when the file does', async () => {
    const request = await wanted('opencode');
    await writeFile(request.file, '{\n  "mcp": {\n    "servers": {}\n  }\n}\n');
    await configure(request);
    expect(JSON.parse(await read(request.file))).toEqual({
      mcp: { servers: { notion: { type: 'local', command: ['holdfast', 'proxy', NOTION] } } },
    });
  });

  test('adds docker-agent’s entry to the named agent, and asks for the name when there are several', async () => {
    const request = await wanted('docker-agent', { agent: 'helper', name: 'wiki' });
    await writeFile(request.file, files.DOCKER_AGENT);
    await configure(request);
    expect((await read(request.file)).split('helper:')[1]).toContain(
      'toolsets:\n      - type: mcp\n        name: "wiki"\n',
    );
    await expect(configure({ ...request, agent: 'nobody' })).rejects.toThrow('There is no agent "nobody"');
    await writeFile(request.file, 'agents:\n  a:\n    model: x\n  b:\n    model: x\n');
    await expect(configure({ ...request, agent: undefined })).rejects.toThrow('several agents');
  });

  test('puts the account into the entry, under another name', async () => {
    const request = await wanted('cursor', { login: { resource: NOTION, account: 'work' } });
    await configure(request);
    await configure({ ...request, login: { resource: NOTION, account: 'default' } });
    expect(JSON.parse(await read(request.file)).mcpServers).toEqual({
      'notion-work': { command: 'holdfast', args: ['proxy', NOTION, '--account=work'] },
      notion: { command: 'holdfast', args: ['proxy', NOTION] },
    });
  });

  test('writes a headers helper with --headers-helper, and replaces it by a proxy later', async () => {
    const request = await wanted('claude-code', { login: { resource: `${NOTION}?a=1&b=2`, account: 'a b' } });
    await writeFile(request.file, files.CLAUDE_CODE);
    await configure({ ...request, helper: true });
    const entry = () => read(request.file).then((text) => JSON.parse(text).mcpServers['notion-a-b']);
    expect(await entry()).toEqual({
      type: 'http',
      url: `${NOTION}?a=1&b=2`,
      headersHelper: `holdfast headers "${NOTION}?a=1&b=2" --json "--account=a b"`,
    });
    expect(await configure({ ...request, helper: true })).toMatchObject({ action: 'unchanged' });
    expect(await configure(request)).toMatchObject({ action: 'updated', name: 'notion-a-b' });
    expect(await entry()).toEqual({
      type: 'stdio',
      command: 'holdfast',
      args: ['proxy', `${NOTION}?a=1&b=2`, '--account=a b'],
    });
    await configure({ ...request, helper: true });
    await unconfigure(request);
    expect(await read(request.file)).toBe(files.CLAUDE_CODE);
  });

  test('refuses a headers helper for a URL that a shell would expand', async () => {
    const request = await wanted('claude-code', {
      helper: true,
      login: { resource: `${NOTION}?a=$(id)`, account: 'default' },
    });
    await expect(configure(request)).rejects.toMatchObject({ code: 'invalid-argument' });
    expect(await readdir(join(request.file, '..'))).toEqual([]);
  });
});

describe('an existing entry', () => {
  test('finds an entry by its login under any name, and keeps the user’s additions', async () => {
    const request = await wanted('cursor', { program: ['/usr/bin/node', '/opt/holdfast.cjs'] });
    const text =
      '{"mcpServers": {"wiki": {"command": "holdfast", "args": ["proxy", "https://mcp.notion.com/mcp", "--transport", "sse-only"], "disabled": true}}}';
    await writeFile(request.file, text);
    expect(await configure(request)).toMatchObject({ action: 'updated', name: 'wiki' });
    expect(JSON.parse(await read(request.file)).mcpServers).toEqual({
      wiki: {
        command: '/usr/bin/node',
        args: ['/opt/holdfast.cjs', 'proxy', NOTION, '--transport', 'sse-only'],
        disabled: true,
      },
    });
    expect(await configure(request)).toMatchObject({ action: 'unchanged', name: 'wiki' });
    await configure({ ...request, program: ['holdfast'] });
    expect(JSON.parse(await read(request.file))).toEqual(JSON.parse(text));
  });

  test.each<[string, string]>([
    [
      'of another program',
      '{"mcpServers": {"notion": {"command": "npx", "args": ["mcp-remote", "https://mcp.notion.com/mcp"]}}}',
    ],
    [
      'of the client’s own login',
      '{"mcpServers": {"notion": {"type": "http", "url": "https://mcp.notion.com/mcp"}}}',
    ],
    [
      'for another server',
      '{"mcpServers": {"notion": {"command": "holdfast", "args": ["proxy", "https://mcp.notion.com/other"]}}}',
    ],
    ['that is no object', '{"mcpServers": {"notion": "x"}}'],
  ])('leaves an entry %s alone unless forced', async (_, text) => {
    const request = await wanted('cursor');
    await writeFile(request.file, text);
    await expect(configure(request)).rejects.toMatchObject({
      code: 'invalid-argument',
      hint: expect.stringContaining('--force'),
    });
    expect(await unconfigure(request)).toMatchObject({ action: 'absent' });
    await expect(unconfigure({ ...request, name: 'notion' })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    expect(await read(request.file)).toBe(text);
    expect(await configure({ ...request, force: true })).toMatchObject({ action: 'replaced' });
    expect(JSON.parse(await read(request.file)).mcpServers).toEqual({
      notion: { command: 'holdfast', args: ['proxy', NOTION] },
    });
  });

  test('replaces another program’s entry within its list', async () => {
    const request = await wanted('docker-agent', { name: 'search', force: true });
    await writeFile(request.file, files.DOCKER_AGENT.replace('ref: docker:duckduckgo', 'name: search'));
    expect(await configure(request)).toMatchObject({ action: 'replaced' });
    expect(await read(request.file)).toContain(
      '- type: filesystem\n      - type: mcp\n        name: "search"\n        command: holdfast\n',
    );
  });

  test('recognizes an entry with another program name by its arguments', async () => {
    const request = await wanted('codex', { program: ['/opt/hf'] });
    await configure(request);
    expect(await configure(request)).toMatchObject({ action: 'unchanged' });
    expect(await configure({ ...request, program: ['holdfast'], force: true })).toMatchObject({
      action: 'replaced',
    });
  });
});

describe('the written file', () => {
  test('creates the file and its directories: 0600 for one user, by the umask for a project', async () => {
    const directory = await temporaryDirectory();
    const one = await wanted('cursor', { file: join(directory, 'a', 'b', 'mcp.json') });
    const shared = await wanted('cursor', {
      file: join(directory, 'p', '.cursor', 'mcp.json'),
      scope: 'project',
    });
    await configure(one);
    await configure(shared);
    const mode = async (path: string) => (await stat(path)).mode & 0o777;
    expect(await mode(one.file)).toBe(0o600);
    expect(await mode(join(directory, 'a'))).toBe(0o700);
    expect(await mode(shared.file)).toBe(0o666 & ~process.umask());
    expect(await mode(join(directory, 'p'))).toBe(0o777 & ~process.umask());
  });

  test('keeps the mode of the file', async () => {
    const request = await wanted('cursor');
    await writeFile(request.file, '{}');
    await chmod(request.file, 0o664);
    await configure(request);
    expect((await stat(request.file)).mode & 0o7777).toBe(0o664);
  });

  test.skipIf(ROOT)('keeps the owner of the file', async () => {
    const request = await wanted('cursor');
    await writeFile(request.file, '{}');
    await chown(request.file, 12_345, 23_456);
    await configure(request);
    expect(await stat(request.file)).toMatchObject({ uid: 12_345, gid: 23_456 });
  });

  test('writes to the target of a symbolic link and keeps the link', async () => {
    const directory = await temporaryDirectory();
    await mkdir(join(directory, 'dotfiles'));
    await writeFile(join(directory, 'dotfiles', 'mcp.json'), '{}');
    await symlink('dotfiles/mcp.json', join(directory, 'mcp.json'));
    const request = await wanted('cursor', { file: join(directory, 'mcp.json') });
    const { file } = await configure(request);
    expect(file).toBe(join(directory, 'dotfiles', 'mcp.json'));
    expect(JSON.parse(await read(join(directory, 'dotfiles', 'mcp.json')))).toHaveProperty(
      'mcpServers.notion',
    );
    expect(await readdir(join(directory, 'dotfiles'))).toEqual(['mcp.json']);
    expect((await lstat(request.file)).isSymbolicLink()).toBe(true);
  });

  test.each<[string, Uint8Array | string]>([
    ['does not parse', '{"mcpServers": {'],
    ['is not UTF-8', new Uint8Array([0x7b, 0xff, 0x7d])],
  ])('leaves a file that %s unchanged, byte for byte', async (_, content) => {
    const request = await wanted('cursor');
    await writeFile(request.file, content);
    const before = await readFile(request.file);
    await expect(configure(request)).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(unconfigure(request)).rejects.toMatchObject({ code: 'invalid-argument' });
    expect(await readFile(request.file)).toEqual(before);
    expect(await readdir(join(request.file, '..'))).toEqual(['config']);
  });

  test('writes nothing on a dry run', async () => {
    const request = await wanted('cursor', { dryRun: true });
    expect(await configure(request)).toMatchObject({ action: 'added' });
    expect(await readdir(join(request.file, '..'))).toEqual([]);
  });

  test('does not overwrite a file that its client wrote meanwhile', async () => {
    const { file } = await wanted('cursor');
    await writeFile(file, '{}');
    const seen = await readClientFile(file);
    await writeFile(file, '{"theirs": 1}');
    expect(await replaceClientFile(seen, '{"ours": 1}', { mode: 'private' })).toBe(false);
    expect(await read(file)).toBe('{"theirs": 1}');
    const none = await readClientFile(`${file}2`);
    await writeFile(`${file}2`, '{}');
    expect(await replaceClientFile(none, '{"ours": 1}', { mode: 'private' })).toBe(false);
    expect((await readdir(join(file, '..'))).toSorted()).toEqual(['config', 'config2']);
  });

  test('keeps every entry when twenty processes write at once', async () => {
    const { file } = await wanted('codex');
    await writeFile(file, files.CODEX);
    const resources = Array.from({ length: 20 }, (_, index) => `https://s${index}.example.com/mcp`);
    const all = await Promise.all(
      resources.map((resource) => wanted('codex', { file, login: { resource, account: 'default' } })),
    );
    const outcomes = await Promise.allSettled(all.map(configure));
    const written = outcomes.flatMap((outcome) =>
      outcome.status === 'fulfilled' ? [outcome.value.name] : [],
    );
    const entries = await entriesOf(client('codex'), file, ['holdfast']);
    expect(entries.map(({ name }) => name).toSorted()).toEqual(written.toSorted());
    expect(written).toHaveLength(20);
  });

  test('replaces an unfinished file that a killed process left behind', async () => {
    const request = await wanted('cursor');
    const left = join(request.file, '..', '.config.holdfast');
    await writeFile(left, 'half');
    await utimes(left, new Date(0), new Date(0));
    await configure(request);
    expect(await readdir(join(request.file, '..'))).toEqual(['config']);
  });
});

test.each([
  ['https://mcp.notion.com/mcp', 'default', 'notion'],
  ['https://mcp.linear.app/mcp', 'default', 'linear'],
  ['https://api.githubcopilot.com/mcp/', 'default', 'githubcopilot'],
  ['https://docs.mcp.cloudflare.com/mcp', 'default', 'docs-cloudflare'],
  ['https://mcp.example.co.uk/mcp', 'work', 'example-work'],
  ['https://mcp.example.com/mcp', 'me@example.com', 'example-me-example-com'],
  ['http://127.0.0.1:3000/mcp', 'default', '127-0-0-1-3000'],
  ['http://localhost:3000/mcp', 'default', 'localhost-3000'],
  ['http://[::1]:3000/mcp', 'default', '1-3000'],
  ['https://xn--mnchen-3ya.de', 'default', 'xn-mnchen-3ya'],
  ['https://mcp.app', 'default', 'mcp'],
])('names the server %s with account %s: %s', (resource, account, name) => {
  expect(serverName(resource, account)).toBe(name);
});
