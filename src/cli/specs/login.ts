import type { Command } from '../command.ts';
import { LOGIN_OPTIONS } from '../options/login.ts';
import { ACCOUNT, KEPT, SERVER, TIMEOUT } from '../options/shared.ts';

export const LOGIN: Command = {
  name: 'login',
  argument: SERVER,
  summary: 'log in to an MCP server with the browser',
  description:
    'Finds the server’s authorization server, registers with it, opens the browser and keeps the login, sealed under the\nstrongest keyring that works here. Where no browser can be opened, it logs in by a code on another device, if the\nserver has those; else the URL is printed, and the address that the browser ends at may be pasted.',
  options: {
    account: ACCOUNT,
    ...KEPT,
    timeout: { ...TIMEOUT, summary: 'how long the login in the browser may take (default: 300)' },
    scope: {
      type: 'string',
      value: 'SCOPES',
      summary: 'scopes to ask for, by spaces or commas, in place of what the server suggests',
    },
    'callback-port': {
      type: 'string',
      value: 'PORT',
      summary: 'where the browser comes back to, on 127.0.0.1 (default: any free port)',
    },
    'callback-url': {
      type: 'string',
      value: 'URL',
      summary: 'where the browser comes back to instead, with ${callbackPort} for the port',
    },
    browser: { type: 'boolean', summary: 'open the browser, whatever the place looks like' },
    device: { type: 'boolean', summary: 'log in with a code on another device (RFC 8628)' },
    paste: { type: 'boolean', summary: 'print the URL, and take the address that the browser ends at' },
    'no-browser': { type: 'boolean', summary: 'print the URL, open nothing, and wait for the redirect' },
    'no-input': { type: 'boolean', summary: 'ask nobody: end with exit code 3 where a person is needed' },
    'allow-memory': {
      type: 'boolean',
      summary: 'log in even if nothing can be kept: the login ends with this command',
    },
    ...LOGIN_OPTIONS,
  },
  examples: [
    ['holdfast login https://mcp.notion.com/mcp', 'log in'],
    ['holdfast login https://mcp.notion.com/mcp --account work', 'a second login at the same server'],
    [
      'holdfast login URL --client-credentials --client-id ID --client-secret-file /run/secrets/mcp',
      'a service, without a person',
    ],
    [
      'ssh -L 4180:127.0.0.1:4180 HOST holdfast login URL --no-browser --callback-port 4180',
      'on another machine',
    ],
  ],
  load: () => import('../commands/login.ts'),
};
