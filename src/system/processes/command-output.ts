import { spawn } from 'node:child_process';
import type { Environment } from '../environment.ts';
import { withoutSecrets } from './secret-variables.ts';

/** How a command ended that was asked for its output. Nothing of what it said is in here but the output itself. */
export type CommandOutput =
  | { readonly outcome: 'done'; readonly output: Buffer }
  | { readonly outcome: 'failed'; readonly how: string }
  | { readonly outcome: 'not-found' | 'too-long' | 'too-large' };

/**
 * Runs a command, without a shell, for what it writes to stdout. It reads nothing, and its stderr goes nowhere: it may hold a
 * secret. What is still running at the limit is killed, with what it started.
 *
 * @param limits.timeoutMs until it has ended, in milliseconds
 */
export function commandOutput(
  command: readonly string[],
  environment: Environment,
  limits: { readonly timeoutMs: number; readonly maxBytes: number },
): Promise<CommandOutput> {
  const [program = '', ...args] = command;
  const ownGroup = environment.platform !== 'win32';
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: withoutSecrets(environment.variables),
      detached: ownGroup,
      windowsHide: true,
    });
    const chunks: Buffer[] = [];
    let size = 0;
    const timer = setTimeout(() => end({ outcome: 'too-long' }), limits.timeoutMs);
    const end = (result: CommandOutput) => {
      clearTimeout(timer);
      child.stdout.destroy();
      if (child.exitCode === null && child.signalCode === null) killAll();
      resolve(result);
    };
    const killAll = () => {
      if (child.pid === undefined) return;
      try {
        if (ownGroup) process.kill(-child.pid, 'SIGKILL');
        else child.kill('SIGKILL');
      } catch {
        // It has ended meanwhile.
      }
    };
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.byteLength;
      if (size > limits.maxBytes) end({ outcome: 'too-large' });
      else chunks.push(chunk);
    });
    child.once('error', (error: NodeJS.ErrnoException) => {
      end(
        error.code === 'ENOENT'
          ? { outcome: 'not-found' }
          : { outcome: 'failed', how: error.code ?? 'no reason' },
      );
    });
    child.once('close', (code, signal) => {
      if (code === 0) end({ outcome: 'done', output: Buffer.concat(chunks) });
      else end({ outcome: 'failed', how: signal === null ? `exit code ${code}` : `signal ${signal}` });
    });
  });
}
