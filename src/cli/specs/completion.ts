import type { Command } from '../command.ts';

export const COMPLETION: Command = {
  name: 'completion',
  argument: { name: 'SHELL', required: true, choices: ['bash', 'zsh', 'fish'] },
  summary: 'print a completion script for bash, zsh or fish',
  description: 'Writes the script to stdout.',
  options: {},
  examples: [
    [
      'source <(holdfast completion bash)',
      'in ~/.bashrc; for zsh the same with zsh, in ~/.zshrc after compinit',
    ],
    ['holdfast completion fish > ~/.config/fish/completions/holdfast.fish', 'for fish'],
  ],
  load: () => import('../commands/completion.ts'),
};
