import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { onTestFinished } from 'vitest';
import { requirement } from '../requirement.ts';

/** A user of this machine that is neither root nor the one that tests run as. */
export const OTHER_USER = 65_534;

/** For `skipIf`: why a test cannot be two users here, whose connections are told apart. */
export const NO_OTHER_USER = requirement(
  'only root on Linux can be two users, whose TCP connections the kernel tells apart',
  process.platform === 'linux' && process.geteuid?.() === 0,
);

export type TcpEnd = ChildProcessByStdio<Writable, Readable, null>;

/**
 * Starts `tcp-end.mjs`, as that user where one is given; the end of the test ends it. It gets the script's text, because the
 * checkout may be closed to that user.
 */
export async function tcpEnd(args: readonly string[], uid?: number): Promise<TcpEnd> {
  const code = await readFile(new URL('tcp-end.mjs', import.meta.url), 'utf8');
  const child = spawn(process.execPath, ['--input-type=module', '-e', code, '-', ...args], {
    ...(uid === undefined ? {} : { uid, gid: uid }),
    cwd: '/',
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

/** What it says next, as one line. */
export async function said(child: TcpEnd): Promise<string> {
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
  return chunk.toString().trim();
}
