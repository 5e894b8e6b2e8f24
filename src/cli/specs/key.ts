import type { Command } from '../command.ts';

export const KEY: Command = {
  name: 'key',
  argument: { name: 'ACTION', required: true, choices: ['new'] },
  summary: 'make a sealing key for many machines: holdfast key new',
  description:
    'Makes a new sealing key, one line, for HOLDFAST_SEALING_KEY_FILE, HOLDFAST_SEALING_KEY or a secret of your platform.\nIt is kept nowhere else. Who has it, and the store, has every login.',
  options: {
    out: { type: 'string', value: 'FILE', summary: 'write it to a new file, mode 0600' },
    reveal: { type: 'boolean', summary: 'print it even where stdout is a terminal' },
  },
  examples: [
    ['holdfast key new --out sealing-key', 'in a file'],
    [
      'holdfast key new | kubectl create secret generic holdfast --from-file=sealing-key=/dev/stdin',
      'a secret of Kubernetes',
    ],
  ],
  load: () => import('../commands/key.ts'),
};
