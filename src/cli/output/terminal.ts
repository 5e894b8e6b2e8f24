import { createInterface } from 'node:readline/promises';
import { PassThrough } from 'node:stream';
import { AbortedError } from '../../errors.ts';
import { printable } from '../../quote.ts';

/** Tells whether the user can answer a question: stdin and stderr are both a terminal. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && canTell();
}

/** Tells whether the user sees stderr. */
export function canTell(): boolean {
  return process.stderr.isTTY === true;
}

/**
 * Asks on the terminal, or asks the program at the other end of standard input, and resolves with the answered line.
 *
 * @throws AbortedError if the input ends first, by Ctrl-D on a terminal
 * @throws the reason of `signal` if it ends the question
 */
export async function ask(question: string, signal: AbortSignal): Promise<string> {
  const { stdin, stderr } = process;
  // A new stream for each question: Node takes a minute for a paste of 100 KB at the second question on one stream.
  const input = Object.assign(new PassThrough(), {
    setRawMode: (isRaw: boolean) => canAsk() && stdin.setRawMode(isRaw),
  });
  stdin.pipe(input);
  const lines = createInterface({ input, output: stderr, terminal: canAsk() });
  // Ctrl-C reaches the terminal as a character while lines are read from it.
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  // After Ctrl-Z and `fg` Node leaves the input paused, so that keys no longer work.
  lines.on('SIGCONT', () => lines.prompt(true));
  // Node leaves a question open forever when its input ends.
  const closed = new AbortController();
  lines.once('close', () => closed.abort());
  try {
    return await lines.question(printable(question), { signal: AbortSignal.any([signal, closed.signal]) });
  } catch (error) {
    if (signal.aborted || !closed.signal.aborted) throw error;
    throw new AbortedError('The input ended before there was an answer.', { cause: error });
  } finally {
    stdin.unpipe(input);
    lines.close();
    // An open stdin would keep the process from ending.
    stdin.pause();
  }
}

/** A QR code of the text for the terminal of stderr; `undefined` if the terminal is too narrow. */
export async function qrCode(text: string): Promise<string | undefined> {
  const { renderUnicodeCompact } = await import('uqr');
  const picture = renderUnicodeCompact(text);
  const width = picture.indexOf('\n');
  return width <= process.stderr.columns ? picture : undefined;
}
