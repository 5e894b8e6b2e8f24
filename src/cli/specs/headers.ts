import type { Command } from '../command.ts';
import { ACCOUNT, KEPT, SERVER, TIMEOUT } from '../options/shared.ts';

export const HEADERS: Command = {
  name: 'headers',
  argument: SERVER,
  summary: 'print the HTTP headers that carry the token',
  description: 'One header a line; with --json an object, as clients with a headers helper expect it.',
  options: {
    account: ACCOUNT,
    ...KEPT,
    timeout: TIMEOUT,
    method: {
      type: 'string',
      value: 'METHOD',
      choices: ['POST', 'GET', 'DELETE'],
      summary: 'for a token that is bound to a key: the request that the headers are for (default: POST)',
    },
    nonce: {
      type: 'string',
      value: 'NONCE',
      summary: 'for such a token: what the server asked for in its DPoP-Nonce header',
    },
  },
  examples: [
    ['holdfast headers URL | curl --header @- URL', 'for curl; the token is in no command line'],
    ['holdfast headers URL --json', 'for a client’s headers helper'],
  ],
  load: () => import('../commands/headers.ts'),
};
