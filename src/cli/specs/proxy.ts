import type { Command } from '../command.ts';
import { LOG } from '../options/log.ts';
import { ACCOUNT, KEPT, SERVER } from '../options/shared.ts';

export const PROXY: Command = {
  name: 'proxy',
  argument: SERVER,
  second: { name: 'PORT', required: false },
  summary: 'be that server on standard input and output, for clients that know no OAuth',
  description:
    'What a client starts in place of mcp-remote: every message goes to the server and back as it is, with the login that\nis here, refreshed in time. Without a login the client is asked to show the page for it, or a browser opens; else\nevery tool call says which command logs in. PORT is the callback port of such a login.',
  options: {
    account: ACCOUNT,
    ...KEPT,
    header: {
      type: 'string',
      value: 'HEADER',
      repeats: true,
      summary: 'sent to that server with every request, as "Name: value"; ${VAR} is the environment’s',
    },
    transport: {
      type: 'string',
      value: 'NAME',
      choices: ['http-first', 'sse-first', 'http-only', 'sse-only'],
      summary: 'which transport the server speaks (default: http-first)',
    },
    'allow-http': {
      type: 'boolean',
      summary: 'plain http to another machine; no login is ever sent over it',
    },
    host: {
      type: 'string',
      value: 'HOST',
      summary: 'of the callback URL: 127.0.0.1 (the default) or localhost',
    },
    debug: { type: 'boolean', summary: 'tell on stderr what happens' },
    log: LOG,
  },
  examples: [
    [
      '{"command": "holdfast", "args": ["proxy", "https://mcp.linear.app/mcp"]}',
      'in a client’s configuration',
    ],
    ['holdfast proxy URL --header "X-Team: ${TEAM}"', 'with a header of your own'],
  ],
  load: () => import('../commands/proxy.ts'),
};
