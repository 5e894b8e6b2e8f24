import type { Command } from '../command.ts';
import { KEPT } from '../options/shared.ts';

export const DOCTOR: Command = {
  name: 'doctor',
  summary: 'check keyrings, files, locks, clock and network settings',
  description:
    'Runs independent checks, each with its remedy; among them a real write, read, compare and delete. Shows no secret.\nExits with 1 if a check fails; a warning alone is no failure.',
  options: KEPT,
  examples: [
    ['holdfast doctor', 'for people'],
    ['holdfast doctor --json', 'for a bug report'],
  ],
  load: () => import('../commands/doctor.ts'),
};
