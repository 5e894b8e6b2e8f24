import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandNamed } from '../../src/cli/commands.ts';
import { CLIENTS } from '../../src/configure/clients.ts';
import { contentsOf } from '../support/homes/disk.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { type Ended, start, TYPESCRIPT } from '../support/processes/process.ts';
import { requirement } from '../support/requirement.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { commandLine } from '../support/transcript.ts';

const BIN = fileURLToPath(new URL('../../src/cli/bin.ts', import.meta.url));
const NOTION = 'https://mcp.notion.com/mcp';

interface Machine {
  readonly home: string;
  readonly project: string;
  readonly path: string;
  run(args: readonly string[], variables?: Readonly<Record<string, string>>): Promise<Ended>;
  told(args: readonly string[], variables?: Readonly<Record<string, string>>): Promise<string>;
}

/** A machine with Holdfast installed: a home, a project as working directory, and `holdfast` on PATH. */
async function machine(): Promise<Machine> {
  const directory = await temporaryDirectory();
  const [home, project, bin] = ['home', 'project', 'bin'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  await Promise.all([home, project, bin].map((path) => mkdir(path)));
  const words = [process.execPath, ...TYPESCRIPT, BIN].map((word) => `'${word}'`).join(' ');
  await writeFile(join(bin, 'holdfast'), `#!/bin/sh\nexec ${words} "$@"\n`, { mode: 0o755 });
  const path = `${bin}:/usr/bin:/bin`;
  const run: Machine['run'] = (args, variables) =>
    start('sh', ['-c', 'cd "$1" && shift && exec holdfast "$@"', 'sh', project, ...args], {
      HOME: home,
      PATH: path,
      ...variables,
    }).ended;
  return {
    home,
    project,
    path,
    run,
    told: async (args, variables) => {
      const { code, out, err } = await run(args, variables);
      return [`exit ${code}`, out && `--- stdout\n${out}`, err && `--- stderr\n${err}`]
        .join('\n')
        .replaceAll(home, '~')
        .replaceAll(project, '.')
        .replaceAll(/\n+/g, '\n')
        .trim();
    },
  };
}

describe('holdfast configure', () => {
  test('adds an entry, and says where it is, what to do next and how to undo it', async () => {
    const at = await machine();
    expect(await at.told(['configure', 'cursor', NOTION])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Added notion in ~/.cursor/mcp.json.
        Start Cursor again, and log in if you have not: holdfast login https://mcp.notion.com/mcp
        To take it out: holdfast configure cursor https://mcp.notion.com/mcp --remove"
    `);
    expect(JSON.parse(await readFile(join(at.home, '.cursor/mcp.json'), 'utf8'))).toEqual({
      mcpServers: { notion: { command: 'holdfast', args: ['proxy', NOTION] } },
    });
    expect(await at.told(['configure', 'cursor', NOTION])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      notion is in ~/.cursor/mcp.json already; nothing was changed."
    `);
    expect(await at.told(['configure', 'cursor', NOTION, '--remove', '--print'])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Would remove notion from ~/.cursor/mcp.json."
    `);
    expect(await at.told(['configure', 'cursor', NOTION, '--remove'])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Removed notion from ~/.cursor/mcp.json."
    `);
    expect(await at.told(['configure', 'cursor', NOTION, '--remove'])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      There is no entry of Holdfast for that login in ~/.cursor/mcp.json, so nothing was done."
    `);
  });

  test('prints the entry and touches nothing with --print', async () => {
    const at = await machine();
    expect(
      await at.told(['configure', 'codex', NOTION, '--print', '--account', 'work']),
    ).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      [mcp_servers.notion-work]
      command = "holdfast"
      args = ["proxy", "https://mcp.notion.com/mcp", "--account=work"]
      --- stderr
      notion-work would be added to ~/.codex/config.toml. Nothing was touched."
    `);
    expect(await at.told(['configure', 'docker-agent', NOTION, '--print'])).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      agents:
        root:
          toolsets:
            - type: mcp
              command: holdfast
              args: ["proxy", "https://mcp.notion.com/mcp"]"
    `);
    expect(await readdir(at.home)).toEqual([]);
    expect(await readdir(at.project)).toEqual([]);
  });

  test('prints the entry and the reason when it cannot be written', async () => {
    const at = await machine();
    await writeFile(join(at.home, '.claude.json'), '{\n  "a": 1\n  "key": "sk-secret"\n');
    expect(await at.told(['configure', 'claude-code', NOTION, '--print'])).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      {
        "mcpServers": {
          "notion": {
            "type": "stdio",
            "command": "holdfast",
            "args": [
              "proxy",
              "https://mcp.notion.com/mcp"
            ]
          }
        }
      }
      --- stderr
      warning: ~/.claude.json is not JSON: line 3, column 3. Nothing was touched."
    `);
    expect(await at.told(['configure', 'claude-code', NOTION])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: ~/.claude.json is not JSON: line 3, column 3. Nothing was touched.
        Mend it there, or print the entry: add --print"
    `);
  });

  test('puts no path of this machine into a project’s shared file', async () => {
    const at = await machine();
    for (const client of ['claude-code', 'cursor', 'vscode', 'codex', 'gemini', 'opencode']) {
      expect((await at.run(['configure', client, NOTION, '--scope', 'project'])).code).toBe(0);
    }
    await writeFile(join(at.project, 'agent.yaml'), 'agents:\n  root:\n    model: x\n');
    expect((await at.run(['configure', 'docker-agent', NOTION, '--file', 'agent.yaml'])).code).toBe(0);
    const written = await contentsOf(at.project);
    expect(written.filter((line) => /\.(json|toml|yaml)/.test(line))).toHaveLength(7);
    for (const file of [
      '.mcp.json',
      '.cursor/mcp.json',
      '.vscode/mcp.json',
      '.codex/config.toml',
      '.gemini/settings.json',
      'opencode.json',
      'agent.yaml',
    ]) {
      const text = await readFile(join(at.project, file), 'utf8');
      expect(text).toContain('holdfast');
      expect(text).not.toMatch(/"\//);
    }
    expect(await readdir(at.home)).toEqual([]);
  });

  test('writes its absolute path for Claude Desktop, which has another PATH', async () => {
    const at = await machine();
    await at.run(['configure', 'claude-desktop', NOTION]);
    const text = await readFile(join(at.home, '.config/Claude/claude_desktop_config.json'), 'utf8');
    expect(JSON.parse(text).mcpServers.notion).toEqual({
      command: process.execPath,
      args: [BIN, 'proxy', NOTION],
    });
  });

  test('warns when the client may not find the login or the program', async () => {
    const at = await machine();
    const { path } = await temporaryHome();
    expect(await at.told(['configure', 'cursor', NOTION], { HOLDFAST_HOME: path })).toContain(
      'warning: HOLDFAST_HOME is set here, and Cursor may be started without it.',
    );
    const project = ['configure', 'cursor', `${NOTION}?key=1`, '--scope', 'project'];
    expect(await at.told(project)).toContain('warning: The URL has a query');
    expect(
      (await commandLine(path).run(['configure', 'cursor', NOTION, '--scope', 'project', '--print'])).err,
    ).toContain('holdfast is not on PATH');
  });

  test.each<[string, string[], string]>([
    ['a command without a name', ['cursor', NOTION, '--command='], '--command is empty'],
    ['a list of somebody’s file', ['--list', '--file', 'x'], 'whose file'],
    ['no client', [], 'needs the name of a client'],
    ['an unknown client', ['curser', NOTION], 'Did you mean: cursor'],
    ['no URL', ['cursor'], 'needs the URL'],
    ['a URL that is none', ['cursor', 'notion'], 'is not a URL'],
    [
      'a URL with a password',
      ['cursor', 'https://a:b@mcp.notion.com/mcp'],
      'carries a user name or password',
    ],
    ['an unknown scope', ['cursor', NOTION, '--scope', 'local'], 'is neither user nor project'],
    [
      'a scope that the client has not',
      ['claude-desktop', NOTION, '--scope', 'project'],
      'has no file of its own',
    ],
    ['no file for docker-agent', ['docker-agent', NOTION], 'a file for each agent'],
    ['a file that is not there', ['docker-agent', NOTION, '--file', 'agent.yaml'], 'There is no'],
    ['a helper for another client', ['cursor', NOTION, '--headers-helper'], 'knows no helper'],
    ['an agent of another client', ['cursor', NOTION, '--agent', 'x'], '--agent is for docker-agent'],
    ['a name with a dot', ['cursor', NOTION, '--name', 'a.b'], 'is no name for a server'],
    ['a name of the language', ['cursor', NOTION, '--name', '__proto__'], 'is no name for a server'],
  ])('refuses %s before it touches anything', async (_, args, message) => {
    const at = await machine();
    const { code, out, err } = await at.run(['configure', ...args]);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(message);
    expect(await readdir(at.home)).toEqual([]);
    expect(await readdir(at.project)).toEqual([]);
  });

  test('lists the installed clients, their files and our entries with --list', async () => {
    const at = await machine();
    await at.run(['configure', 'cursor', NOTION]);
    await at.run(['configure', 'claude-code', NOTION, '--headers-helper']);
    await at.run(['configure', 'opencode', NOTION, '--scope', 'project', '--account', 'work']);
    await mkdir(join(at.home, '.codex'));
    await writeFile(join(at.home, '.codex/config.toml'), 'a = \n');
    expect(await at.told(['configure', '--list'])).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      claude-code     Claude Code
        ~/.claude.json
          notion: https://mcp.notion.com/mcp (headers)
      claude-desktop  Claude Desktop was not found here
      cursor          Cursor
        ~/.cursor/mcp.json
          notion: https://mcp.notion.com/mcp
      vscode          VS Code was not found here
      codex           Codex
        ~/.codex/config.toml
          ~/.codex/config.toml is not TOML: line 2, column 1. Nothing was touched.
      gemini          Gemini CLI was not found here
      opencode        opencode was not found here
        ./opencode.json
          notion-work: https://mcp.notion.com/mcp as "work"
      docker-agent    docker-agent was not found here"
    `);
    await writeFile(join(at.project, 'agent.yaml'), 'agents:\n  root:\n    model: x\n');
    await at.run(['configure', 'docker-agent', NOTION, '--file', 'agent.yaml']);
    expect((await at.run(['configure', 'docker-agent', '--list', '--file', 'agent.yaml'])).out).toContain(
      `    mcp: ${NOTION}\n`,
    );
    const { clients } = JSON.parse((await at.run(['configure', 'cursor', '--list', '--json'])).out);
    expect(clients).toEqual([
      {
        client: 'cursor',
        title: 'Cursor',
        found: true,
        files: [
          {
            scope: 'user',
            path: join(at.home, '.cursor/mcp.json'),
            entries: [{ name: 'notion', resource: NOTION, account: 'default', kind: 'proxy' }],
          },
        ],
      },
    ]);
  });

  test('answers in JSON with --json', async () => {
    const at = await machine();
    const file = join(at.home, '.gemini/settings.json');
    const ask = async (...more: string[]) =>
      JSON.parse((await at.run(['configure', 'gemini', NOTION, '--json', ...more])).out);
    const entry = { command: 'holdfast', args: ['proxy', NOTION] };
    const told = { client: 'gemini', scope: 'user', file, name: 'notion', dryRun: false };
    expect(await ask()).toEqual({ ...told, action: 'added', entry });
    expect(await ask()).toEqual({ ...told, action: 'unchanged', entry });
    expect(await ask('--print')).toMatchObject({ action: 'unchanged', file, name: 'notion', entry });
    expect(await ask('--remove')).toEqual({ ...told, action: 'removed' });
  });

  const root = requirement(
    'it is not Linux as root, which mounts a file',
    process.platform === 'linux' && process.geteuid?.() === 0,
  );
  test.skipIf(root !== undefined)('writes a bind-mounted file, which cannot be replaced', async () => {
    const at = await machine();
    const [source, mounted] = [join(at.home, 'source.json'), join(at.project, 'mounted.json')];
    await writeFile(source, '{"a": 1}\n');
    await writeFile(mounted, '');
    const inside = (...more: string[]) =>
      start(
        'unshare',
        [
          '-m',
          'sh',
          '-c',
          'mount --bind "$1" "$2" && shift 2 && exec holdfast "$@"',
          'sh',
          source,
          mounted,
        ].concat(['configure', 'cursor', NOTION, '--file', mounted, ...more]),
        { HOME: at.home, PATH: `${at.path}:/usr/sbin:/sbin` },
      ).ended;
    expect(await inside()).toMatchObject({ code: 0 });
    expect(JSON.parse(await readFile(source, 'utf8'))).toHaveProperty('mcpServers.notion');
    expect(await inside('--remove')).toMatchObject({ code: 0 });
    expect(await readFile(source, 'utf8')).toBe('{"a": 1}\n');
    expect(await readdir(at.project)).toEqual(['mounted.json']);
  });

  test('shows nothing of an entry that it removes or refuses, since it may hold a key', async () => {
    const at = await machine();
    await mkdir(join(at.home, '.cursor'));
    await writeFile(
      join(at.home, '.cursor/mcp.json'),
      '{"mcpServers": {"notion": {"command": "sk-secret", "args": ["sk-secret"], "env": {"KEY": "sk-secret"}}}}',
    );
    for (const more of [[], ['--print'], ['--json'], ['--remove', '--force', '--name', 'notion', '--json']]) {
      const { out, err } = await at.run(['configure', 'cursor', NOTION, ...more]);
      expect(out + err).not.toContain('sk-secret');
    }
  });

  test('lists the same clients in its help as in its code', async () => {
    const command = await commandNamed('configure');
    expect(command?.argument?.choices).toEqual(CLIENTS.map(({ id }) => id));
  });
});

describe('the configured entry', () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers();
  });
  afterAll(() => servers.stop());

  test.each<[string, string, (entry: { command: string | string[]; args: string[] }) => readonly string[]]>([
    ['cursor', '.cursor/mcp.json', ({ command, args }) => [command as string, ...args]],
    ['opencode', 'opencode.json', ({ command }) => command as string[]],
  ])('starts, from the entry of %s, an MCP server that is logged in', async (client, file, wordsOf) => {
    const at = await machine();
    const { path } = await temporaryHome();
    expect((await commandLine(path, [servers]).run(['login', servers.resource])).code).toBe(0);
    await at.run(['configure', client, servers.resource, '--scope', 'project', '--name', 'it']);
    const values = JSON.parse(await readFile(join(at.project, file), 'utf8'));
    const [command = '', ...args] = wordsOf((values.mcpServers ?? values.mcp).it);
    const transport = new StdioClientTransport({
      command,
      args: [...args],
      env: { PATH: at.path, HOME: at.home, HOLDFAST_HOME: path },
      stderr: 'ignore',
    });
    const session = new Client({ name: 'test', version: '1' });
    await session.connect(transport);
    try {
      expect((await session.listTools()).tools.length).toBeGreaterThan(0);
    } finally {
      await session.close();
    }
  });

  test('writes a headers helper that prints the headers', async () => {
    const at = await machine();
    const { path } = await temporaryHome();
    expect((await commandLine(path, [servers]).run(['login', servers.resource])).code).toBe(0);
    await at.run(['configure', 'claude-code', servers.resource, '--headers-helper', '--name', 'it']);
    const { headersHelper, url, type } = JSON.parse(await readFile(join(at.home, '.claude.json'), 'utf8'))
      .mcpServers.it;
    expect({ url, type }).toEqual({ url: servers.resource, type: 'http' });
    const { out } = await start('sh', ['-c', headersHelper], {
      PATH: at.path,
      HOME: at.home,
      HOLDFAST_HOME: path,
    }).ended;
    expect(Object.keys(JSON.parse(out))).toEqual(['Authorization']);
  });
});
