import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { end } from '../keyrings/secret-service.ts';
import { installed, requirement } from '../requirement.ts';

export const NO_DISPLAY = requirement('Xvfb is not installed', installed('Xvfb'));

/** Starts a virtual display, which ends with the test. @returns its name, such as `:7` */
export async function startDisplay(): Promise<string> {
  // Xvfb picks a free number and writes it to descriptor 3.
  const server = spawn('Xvfb', ['-displayfd', '3', '-nolisten', 'tcp'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  // SIGKILL would leave its lock file behind.
  onTestFinished(() => end(server, 'SIGTERM'));
  const [, , , numbers] = server.stdio;
  if (numbers === null || numbers === undefined || !('readable' in numbers)) throw new Error('no descriptor');
  for await (const number of createInterface({ input: numbers as NodeJS.ReadableStream }))
    return `:${number}`;
  throw new Error('Xvfb did not start');
}
