import type { Command } from '../command.ts';
import { ACCOUNT, KEPT } from '../options/shared.ts';

export const IMPORT: Command = {
  name: 'import',
  argument: {
    name: 'PEER',
    required: false,
    choices: [
      'mcp-remote',
      'claude-code',
      'codex',
      'gemini',
      'opencode',
      'goose',
      'cline',
      'mcporter',
      'inspector',
      'docker-agent',
      '-',
    ],
  },
  summary: 'move a login here that another program has made',
  description:
    'Takes the tokens out of the other program’s file and seals them here; everything else in that file stays. A refresh\ntoken has one holder: what is imported is there no more, unless only the access token is asked for. PEER is one of:\nmcp-remote, claude-code, codex, gemini, opencode, goose, cline, mcporter, inspector, docker-agent; or - for standard\ninput, with what holdfast export wrote.',
  options: {
    account: ACCOUNT,
    ...KEPT,
    list: {
      type: 'boolean',
      summary: 'show what is there, and change nothing; of every program without PEER',
    },
    url: {
      type: 'string',
      value: 'URL',
      repeats: true,
      summary: 'the login to that server alone; mcp-remote’s own files do not say which server',
    },
    name: {
      type: 'string',
      value: 'NAME',
      summary: 'the login that the program itself calls so',
    },
    issuer: {
      type: 'string',
      value: 'URL',
      summary: 'the authorization server that you logged in at, where the program has not recorded it',
    },
    'access-token-only': {
      type: 'boolean',
      summary: 'take the access token, and leave the login to the other program',
    },
    replace: { type: 'boolean', summary: 'even where there is a login to that server here' },
    file: {
      type: 'string',
      value: 'FILE',
      summary: 'another file, or directory, than the program’s usual one',
    },
    restore: {
      type: 'boolean',
      summary: 'put the program’s file back as it was before an import; with --list, show the backups',
    },
    backup: { type: 'string', value: 'NAME', summary: 'with --restore: that one, not the newest' },
    yes: { type: 'boolean', summary: 'move, or put back, and do not ask' },
  },
  examples: [
    ['holdfast import --list', 'what other programs have'],
    ['holdfast import mcp-remote --url https://mcp.linear.app/mcp', 'move that login'],
    ['holdfast import - < login.json', 'what holdfast export wrote'],
  ],
  load: () => import('../commands/import.ts'),
};
