import type { Command } from '../command.ts';
import { ACCOUNT } from '../options/shared.ts';

export const CONFIGURE: Command = {
  name: 'configure',
  argument: {
    name: 'CLIENT',
    required: false,
    choices: [
      'claude-code',
      'claude-desktop',
      'cursor',
      'vscode',
      'codex',
      'gemini',
      'opencode',
      'docker-agent',
    ],
  },
  second: { name: 'URL', required: false },
  summary: 'make an MCP client use the login, in the client’s own configuration file',
  description:
    'Writes an entry that starts holdfast proxy URL, and leaves everything else in the file as it is, byte for byte. No\nsecret is written. CLIENT is one of: claude-code, claude-desktop, cursor, vscode, codex, gemini, opencode, docker-agent.',
  options: {
    account: ACCOUNT,
    name: {
      type: 'string',
      value: 'NAME',
      summary: 'the entry’s name (default: from the URL, such as notion)',
    },
    scope: {
      type: 'string',
      value: 'SCOPE',
      choices: ['user', 'project'],
      summary: 'user: for all your projects (the default); project: for the one in this directory',
    },
    file: { type: 'string', value: 'FILE', summary: 'another file than the client’s usual one' },
    agent: {
      type: 'string',
      value: 'NAME',
      summary: 'docker-agent: whose toolsets, in --file (default: root, or the only one)',
    },
    'headers-helper': {
      type: 'boolean',
      summary: 'claude-code: no proxy; it asks holdfast headers when it connects',
    },
    command: {
      type: 'string',
      value: 'PROGRAM',
      summary: 'what starts Holdfast (default: holdfast, if it is on PATH)',
    },
    print: { type: 'boolean', summary: 'print the entry, and change nothing' },
    remove: { type: 'boolean', summary: 'take the entry out again' },
    force: { type: 'boolean', summary: 'replace or remove an entry that is not one of Holdfast' },
    list: { type: 'boolean', summary: 'show the clients that are here, their files, and our entries' },
  },
  examples: [
    ['holdfast configure cursor https://mcp.notion.com/mcp', 'for Cursor, in every project'],
    ['holdfast configure claude-code URL --scope project', 'in .mcp.json, for all who work on the project'],
    ['holdfast configure docker-agent URL --file agent.yaml', 'an agent of docker-agent'],
    ['holdfast configure vscode URL --print', 'only look'],
  ],
  load: () => import('../commands/configure.ts'),
};
