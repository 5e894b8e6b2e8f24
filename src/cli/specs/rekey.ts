import type { Command } from '../command.ts';
import { KEYRING } from '../options/shared.ts';

export const REKEY: Command = {
  name: 'rekey',
  summary: 'seal every login under a new key, or under another keyring',
  description:
    'Without --to, makes a new sealing key in each keyring that has one. Where you give the keys yourself, every login is\nsealed under the first of them: put a new one there before. Interrupted at any moment, every login stays readable; run\nit again for the rest. New logins go to the strongest keyring all the same, unless one is chosen.',
  options: {
    keyring: KEYRING,
    to: {
      type: 'string',
      value: 'NAME',
      summary: 'the keyring to move the logins to: native, file, or one by name',
    },
  },
  examples: [
    ['holdfast rekey', 'a new key, where the old one may have been seen'],
    ['holdfast rekey --to file', 'from the desktop’s keyring into the file keyring, for use over SSH'],
  ],
  load: () => import('../commands/rekey.ts'),
};
