import type { Command } from '../command.ts';
import { ACCOUNT, KEPT, SERVER, TIMEOUT } from '../options/shared.ts';

export const TOKEN: Command = {
  name: 'token',
  argument: SERVER,
  summary: 'print a valid access token, refreshed if need be',
  description:
    'Prints the token and nothing else on stdout. However many processes ask at once, an expired token is refreshed once.',
  options: {
    account: ACCOUNT,
    ...KEPT,
    timeout: TIMEOUT,
    refused: {
      type: 'string',
      value: 'GENERATION',
      summary: 'the server answered 401 to the token of this generation (see --json): get a newer one',
    },
  },
  examples: [
    ['TOKEN=$(holdfast token https://mcp.notion.com/mcp)', 'in a script'],
    ['holdfast token https://mcp.notion.com/mcp --json', 'with its type, expiry and generation'],
  ],
  load: () => import('../commands/token.ts'),
};
