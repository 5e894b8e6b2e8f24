import type { Option } from '../command.ts';

/** Every command takes these. */
export const COMMON: Readonly<Record<string, Option>> = {
  json: { type: 'boolean', summary: 'print data, and errors, as JSON' },
  quiet: { type: 'boolean', short: 'q', summary: 'print data and errors only' },
  help: { type: 'boolean', short: 'h', summary: 'say what the command does' },
};
