import type { Command } from '../command.ts';
import { ACCOUNT, KEPT, SERVER, TIMEOUT } from '../options/shared.ts';

export const EXPORT: Command = {
  name: 'export',
  argument: SERVER,
  summary: 'write a login in the clear, for another program',
  description:
    'Writes JSON, or lines for an environment, to stdout or to a new file that only you can read. By itself it is an access\ntoken, and nothing to renew it with; --move gives the whole login away, which is here no more afterwards. For another\nmachine holdfast send is better: it seals.',
  options: {
    account: ACCOUNT,
    ...KEPT,
    timeout: TIMEOUT,
    reveal: { type: 'boolean', summary: 'needed: anyone who sees the output can read the tokens' },
    format: {
      type: 'string',
      value: 'NAME',
      choices: ['json', 'env', 'mcp-remote', 'docker-agent'],
      summary: 'json (the default, for holdfast import -), env (variables), or whose own files to write',
    },
    out: {
      type: 'string',
      value: 'FILE',
      summary: 'write to a new file, mode 0600; for mcp-remote, its directory',
    },
    replace: { type: 'boolean', summary: 'even where that program has a login to the server' },
    move: {
      type: 'boolean',
      summary: 'the whole login, refresh token included, which leaves this machine',
    },
    yes: { type: 'boolean', summary: 'do not ask' },
  },
  examples: [
    ['holdfast export URL --reveal --yes --format env > .env', 'an access token for a container'],
    ['holdfast export URL --reveal --move --out login.json', 'the login, to seed a secret of a CI'],
  ],
  load: () => import('../commands/export.ts'),
};
