/** The sources that can supply a sealing key, and the variable for each. */
export const KEY_SOURCES = {
  'key-file': 'HOLDFAST_SEALING_KEY_FILE',
  'key-variable': 'HOLDFAST_SEALING_KEY',
  'key-command': 'HOLDFAST_SEALING_KEY_COMMAND',
} as const;

export type KeySource = keyof typeof KEY_SOURCES;
