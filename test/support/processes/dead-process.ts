import { start } from './process.ts';

/** The id of a process that has ended. */
export async function deadProcess(): Promise<number> {
  const { pid, ended } = start(process.execPath, ['--version']);
  await ended;
  return pid;
}
