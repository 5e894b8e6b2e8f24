import type { Command } from '../command.ts';
import { KEPT } from '../options/shared.ts';

export const STORE: Command = {
  name: 'store',
  argument: { name: 'ACTION', required: true, choices: ['status', 'migrate'] },
  summary: 'how the store of a fleet is, or make its tables: status, migrate',
  description:
    'status counts records, claims and what was set aside, and says whether the store can be trusted with logins; it opens\nno record unless told to. migrate makes or renews the tables of PostgreSQL, once, as their owner. Exits with 6 if the\nstore is not fit for use.',
  options: {
    ...KEPT,
    open: { type: 'boolean', summary: 'status: open every record, and count them by state' },
    print: { type: 'boolean', summary: 'migrate: print the SQL, and change nothing' },
  },
  examples: [
    ['holdfast store status', 'for people'],
    ['holdfast store status --open --json', 'for programs, with the logins that need a person'],
    ['holdfast store migrate --print', 'the SQL, for who runs the database'],
  ],
  load: () => import('../commands/store.ts'),
};
