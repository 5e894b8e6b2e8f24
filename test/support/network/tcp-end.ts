import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { onTestFinished } from 'vitest';
import { requirement } from '../requirement.ts';

/** A user who is neither root nor the user that runs the tests. */
export const OTHER_USER = 65_534;

/** For `skipIf`: the reason why a test cannot run as two users whose connections are told apart. */
export const NO_OTHER_USER = requirement(
  'only root on Linux can be two users, whose TCP connections the kernel tells apart',
  process.platform === 'linux' && process.geteuid?.() === 0,
);

export type TcpEnd = ChildProcessByStdio<Writable, Readable, null>;

/**
 * Starts `tcp-end.mjs`, as that user if one is given, until the test ends. It is passed the script's text, since that
 * user may not be allowed to read the checkout.
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

/** Its next line of output. */
export async function said(child: TcpEnd): Promise<string> {
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
  return chunk.toString().trim();
}
