import type { Option } from '../command.ts';

/* Options of several commands. */

export const ACCOUNT: Option = {
  type: 'string',
  short: 'a',
  value: 'LABEL',
  summary: 'which login, where there are several at one server (default: "default")',
};
export const KEYRING: Option = {
  type: 'string',
  short: 'k',
  value: 'NAME',
  choices: ['auto', 'native', 'file', 'memory'],
  summary: 'auto, native, file, memory, or a name (default: $HOLDFAST_KEYRING, config.json)',
};
/** The options that choose the store and the keyring of logins. */
export const KEPT: Readonly<Record<string, Option>> = {
  keyring: KEYRING,
  store: {
    type: 'string',
    value: 'NAME',
    choices: ['directory', 'docker-agent', 'postgres://', 'redis://', 'rediss://'],
    summary: 'directory, docker-agent, or an engine’s URL (default: $HOLDFAST_STORE, directory)',
  },
  'docker-agent-dir': {
    type: 'string',
    value: 'DIR',
    summary: 'docker-agent’s configuration directory (default: ~/.config/cagent)',
  },
};
export const TIMEOUT: Option = {
  type: 'string',
  short: 't',
  value: 'SECONDS',
  summary: 'how long to wait for a refresh, by any process (default: 60)',
};
export const SERVER = { name: 'URL', required: true } as const;
