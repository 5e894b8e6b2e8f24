import type { Command } from '../command.ts';
import { ACCOUNT, KEPT } from '../options/shared.ts';

export const LOGOUT: Command = {
  name: 'logout',
  argument: { name: 'URL', required: false },
  summary: 'revoke the tokens at the server and remove the login',
  description:
    'The login is removed here even if the server cannot be told; that it could not is reported, with exit code 5.',
  options: {
    account: ACCOUNT,
    ...KEPT,
    forget: {
      type: 'boolean',
      summary: 'remove records whose key is gone: those of URL, or all; nothing is revoked',
    },
    yes: { type: 'boolean', summary: 'with --forget: the key of URL is gone for good' },
  },
  examples: [
    ['holdfast logout https://mcp.notion.com/mcp', 'log out'],
    ['holdfast logout --forget', 'remove every record that no key opens any more'],
  ],
  load: () => import('../commands/logout.ts'),
};
