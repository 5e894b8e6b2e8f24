import type { Command } from '../command.ts';
import { KEPT } from '../options/shared.ts';

export const LIST: Command = {
  name: 'list',
  summary: 'show every login: state, expiry, scopes, keyring',
  description: 'Shows no secret, and asks no server.',
  options: KEPT,
  examples: [
    ['holdfast list', 'for people'],
    ['holdfast list --json | jq -r ".credentials[].resource"', 'for programs'],
  ],
  load: () => import('../commands/list.ts'),
};
