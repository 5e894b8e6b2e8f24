import { StringDecoder } from 'node:string_decoder';

/**
 * Cuts a stream of bytes into lines. It drops a line beyond the limit up to its end, and calls `onTooLong`. A sender
 * without line breaks is broken, and must not exhaust this process's memory.
 *
 * @param limit maximum number of characters in one line
 */
export class LineReader {
  readonly #decoder = new StringDecoder('utf8');
  readonly #onLine: (line: string) => void;
  readonly #onTooLong: () => void;
  readonly #limit: number;
  #parts: string[] = [];
  #length = 0;
  #dropping = false;

  constructor(limit: number, onLine: (line: string) => void, onTooLong: () => void) {
    this.#limit = limit;
    this.#onLine = onLine;
    this.#onTooLong = onTooLong;
  }

  write(chunk: Buffer): void {
    this.#take(this.#decoder.write(chunk));
  }

  /** The text after the last line break is a line too. */
  end(): void {
    this.#take(`${this.#decoder.end()}\n`);
  }

  #take(text: string): void {
    let from = 0;
    for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', from)) {
      this.#keep(text.slice(from, at));
      from = at + 1;
      const line = this.#parts.length === 1 ? (this.#parts[0] ?? '') : this.#parts.join('');
      const dropped = this.#dropping;
      this.#parts = [];
      this.#length = 0;
      this.#dropping = false;
      if (!dropped && line.trim() !== '') this.#onLine(line);
    }
    if (from < text.length) this.#keep(text.slice(from));
  }

  #keep(part: string): void {
    if (this.#dropping) return;
    this.#length += part.length;
    if (this.#length > this.#limit) {
      this.#dropping = true;
      this.#parts = [];
      this.#onTooLong();
      return;
    }
    this.#parts.push(part);
  }
}
