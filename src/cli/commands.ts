import type { Command } from './command.ts';

/*
 * The table of all commands, in the order of the overview. A command's declaration loads when the command runs, and all
 * of them for help and completion, so that a command does not load the texts of the others.
 */

const COMMANDS = new Map<string, () => Promise<Command>>([
  ['login', async () => (await import('./specs/login.ts')).LOGIN],
  ['list', async () => (await import('./specs/list.ts')).LIST],
  ['token', async () => (await import('./specs/token.ts')).TOKEN],
  ['headers', async () => (await import('./specs/headers.ts')).HEADERS],
  ['run', async () => (await import('./specs/run.ts')).RUN],
  ['proxy', async () => (await import('./specs/proxy.ts')).PROXY],
  ['configure', async () => (await import('./specs/configure.ts')).CONFIGURE],
  ['logout', async () => (await import('./specs/logout.ts')).LOGOUT],
  ['send', async () => (await import('./specs/send.ts')).SEND],
  ['receive', async () => (await import('./specs/receive.ts')).RECEIVE],
  ['import', async () => (await import('./specs/import.ts')).IMPORT],
  ['export', async () => (await import('./specs/export.ts')).EXPORT],
  ['rekey', async () => (await import('./specs/rekey.ts')).REKEY],
  ['key', async () => (await import('./specs/key.ts')).KEY],
  ['store', async () => (await import('./specs/store.ts')).STORE],
  ['refresher', async () => (await import('./specs/refresher.ts')).REFRESHER],
  ['doctor', async () => (await import('./specs/doctor.ts')).DOCTOR],
  ['completion', async () => (await import('./specs/completion.ts')).COMPLETION],
]);

export const COMMAND_NAMES: readonly string[] = [...COMMANDS.keys()];

/** The command of that name, if there is one. */
export async function commandNamed(name: string): Promise<Command | undefined> {
  return COMMANDS.get(name)?.();
}

/** All commands, in the order of the overview. */
export async function allCommands(): Promise<readonly Command[]> {
  return Promise.all([...COMMANDS.values()].map((load) => load()));
}
