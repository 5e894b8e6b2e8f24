import type { Command } from '../command.ts';
import { ACCOUNT, KEPT, TIMEOUT } from '../options/shared.ts';

export const RECEIVE: Command = {
  name: 'receive',
  argument: { name: 'URL', required: false },
  summary: 'show a code that a login can be sent to, and take the login',
  description:
    'Shows a code, and waits for the blob that holdfast send makes for it on a machine that has the login: pasted, or on\nstandard input, or in a file. The code is public, and good for one login. With a URL, the login to that server alone is\ntaken. On a terminal you compare the words of the blob before anything is stored.',
  options: {
    account: { ...ACCOUNT, summary: 'take the login for that account alone (default: whichever comes)' },
    ...KEPT,
    timeout: { ...TIMEOUT, summary: 'how long the code is good (default: 600)' },
    file: {
      type: 'string',
      value: 'FILE',
      summary: 'wait until that file holds the blob, such as a mounted one',
    },
    later: { type: 'boolean', summary: 'print the code and end; open the blob with --blob' },
    blob: {
      type: 'string',
      value: 'FILE',
      summary: 'open the blob in that file, or on standard input: --blob -',
    },
    replace: {
      type: 'boolean',
      summary: 'even where there is a login to that server here, unless an access token comes alone',
    },
    'allow-memory': {
      type: 'boolean',
      summary: 'take the login even if nothing can be kept: it ends with this command',
    },
  },
  examples: [
    ['holdfast receive https://mcp.notion.com/mcp', 'show a code, and wait for the blob'],
    ['CODE=$(holdfast receive URL --later)', 'in a script; then: holdfast receive --blob FILE'],
  ],
  load: () => import('../commands/receive.ts'),
};
