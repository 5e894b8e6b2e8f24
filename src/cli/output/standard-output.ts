import { writeAtOnce } from '../../system/standard-output.ts';
import type { Output } from './ui.ts';

/** Standard output for the `Ui`. Node's stream is made only when a write needs it. */
export class StandardOutput implements Output {
  readonly #onError: (error: NodeJS.ErrnoException) => void;
  #stream: NodeJS.WriteStream | undefined;

  /** @param onError gets the errors of all writes */
  constructor(onError: (error: NodeJS.ErrnoException) => void) {
    this.#onError = onError;
  }

  get stream(): NodeJS.WriteStream {
    if (this.#stream === undefined) {
      this.#stream = process.stdout;
      this.#stream.on('error', this.#onError);
    }
    return this.#stream;
  }

  get isTTY(): boolean {
    return this.stream.isTTY;
  }

  get columns(): number {
    return this.stream.columns;
  }

  write(text: string, done?: (error?: Error | null) => void): void {
    // What the stream still holds must come out first.
    const rest = this.#stream === undefined ? writeAtOnce(text) : text;
    if (rest.length > 0) this.stream.write(rest, done);
    else done?.();
  }

  once(event: 'error', listener: (error: Error) => void): void {
    this.stream.once(event, listener);
  }

  off(event: 'error', listener: (error: Error) => void): void {
    this.stream.off(event, listener);
  }
}
