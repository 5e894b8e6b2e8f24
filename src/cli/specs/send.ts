import type { Command } from '../command.ts';
import { ACCOUNT, KEPT, SERVER, TIMEOUT } from '../options/shared.ts';

export const SEND: Command = {
  name: 'send',
  argument: SERVER,
  summary: 'hand a login over to a machine that has no way to log in',
  description:
    'Seals it to the code that holdfast receive shows there, and prints the sealed blob, which may be seen by anybody and\nopens there only, once, in its time. By itself an access token goes, and nothing to renew it with; --fresh makes a login\nfor the other machine; --move gives the one of this machine away. A refresh token is never copied: its two holders\nwould log each other out. Both ends show the same four words, if nobody has changed the code on its way.',
  options: {
    account: ACCOUNT,
    ...KEPT,
    to: { type: 'string', value: 'CODE', summary: 'the code that holdfast receive shows' },
    fresh: { type: 'boolean', summary: 'log in now, for the other machine; nothing of it is kept here' },
    move: { type: 'boolean', summary: 'send the login of this machine, which then has it no more' },
    out: { type: 'string', value: 'FILE', summary: 'write the blob to a new file, mode 0600' },
    lifetime: {
      type: 'string',
      value: 'SECONDS',
      summary: 'how long the blob may be opened (default: 600)',
    },
    timeout: {
      ...TIMEOUT,
      summary: 'how long a refresh (default: 60), or with --fresh the login (300), may take',
    },
    device: { type: 'boolean', summary: 'with --fresh: log in with a code on another device' },
    paste: { type: 'boolean', summary: 'with --fresh: print the URL, and take the address it ends at' },
    'no-browser': { type: 'boolean', summary: 'with --fresh: print the URL and open nothing' },
  },
  examples: [
    ['holdfast send https://mcp.notion.com/mcp --to CODE', 'an access token, for as long as it lives'],
    ['holdfast send URL --to CODE --fresh', 'a login of its own for the other machine'],
    [
      'holdfast send URL --to "$CODE" | ssh HOST holdfast receive --blob -',
      'with CODE=$(ssh HOST holdfast receive URL --later)',
    ],
  ],
  load: () => import('../commands/send.ts'),
};
