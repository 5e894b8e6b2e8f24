import { spawn } from 'node:child_process';
import type { Environment } from '../environment.ts';
import { withoutSecrets } from './secret-variables.ts';

/** How a command ended. Contains nothing of what the command printed, except its stdout in `output`. */
export type CommandOutput =
  | { readonly outcome: 'done'; readonly output: Buffer }
  | { readonly outcome: 'failed'; readonly how: string }
  | { readonly outcome: 'not-found' | 'too-long' | 'too-large' };

/**
 * Runs a command without a shell and collects its stdout. The command gets no input. Its stderr is discarded, since it
 * may contain a secret. A command that still runs at a limit is killed, with all processes that it started (on Windows,
 * alone).
 *
 * @param limits.timeoutMs time limit for the command, in milliseconds
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
        // The command has ended in the meantime.
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
