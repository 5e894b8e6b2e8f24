import type { Option } from '../command.ts';

/** The options of every command. */
export const COMMON: Readonly<Record<string, Option>> = {
  json: { type: 'boolean', summary: 'print data, and errors, as JSON' },
  quiet: { type: 'boolean', short: 'q', summary: 'print data and errors only' },
  help: { type: 'boolean', short: 'h', summary: 'say what the command does' },
};
