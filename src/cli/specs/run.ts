import type { Command } from '../command.ts';
import { ACCOUNT, KEPT, SERVER, TIMEOUT } from '../options/shared.ts';

export const RUN: Command = {
  name: 'run',
  argument: SERVER,
  rest: { name: 'COMMAND' },
  summary: 'run a command with a fresh access token in its environment',
  description:
    'The command gets the access token and nothing else of the login; signals reach it, and its exit code is passed on.\nThe token is not renewed while it runs: what runs for longer asks for tokens itself, or goes through holdfast proxy.',
  options: {
    account: ACCOUNT,
    ...KEPT,
    timeout: TIMEOUT,
    as: {
      type: 'string',
      value: 'NAME',
      summary: 'the variable that holds the token (default: HOLDFAST_ACCESS_TOKEN)',
    },
  },
  examples: [
    ['holdfast run https://mcp.notion.com/mcp --as NOTION_TOKEN -- node agent.js', 'for a program'],
    [`holdfast run URL --as T -- sh -c 'curl -H "Authorization: Bearer $T" …'`, 'for a shell'],
  ],
  load: () => import('../commands/run.ts'),
};
