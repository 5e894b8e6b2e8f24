import { StringDecoder } from 'node:string_decoder';
import { ResponseTooLargeError } from '../../errors.ts';

/* Server-sent events, by the rules of the HTML standard, section 9.2.6 "Interpreting an event stream". */

export interface StreamEvent {
  /** `message` where the server named none. */
  readonly type: string;
  readonly data: string;
}

/** So many characters of one event. */
const MOST_CHARACTERS = 64 * 1024 * 1024;

/** As every id is sent back in a header, one that does not fit into it is of no use. */
const LONGEST_ID = 8 * 1024;

/**
 * Reads a stream of events. Events that carry an id and no data are not handed out: they only set `lastEventId`.
 */
export class EventStream {
  /** The id of the last event that was seen whole, if the server gives ids. */
  lastEventId: string | undefined;
  /** What `retry:` asked for, in milliseconds. */
  retryMs: number | undefined;
  readonly #onEvent: (event: StreamEvent) => void;
  readonly #limit: number;
  readonly #decoder = new StringDecoder('utf8');
  #isFirst = true;
  #afterCr = false;
  /** The line that has not ended yet, as it came. */
  #rest: string[] = [];
  #restSize = 0;
  #type = '';
  #data: string[] = [];
  #size = 0;
  #id: string | undefined;

  constructor(onEvent: (event: StreamEvent) => void, limit = MOST_CHARACTERS) {
    this.#onEvent = onEvent;
    this.#limit = limit;
  }

  /** @throws ResponseTooLargeError for an event beyond the limit */
  write(chunk: Buffer): void {
    let text = this.#decoder.write(chunk);
    if (text === '') return;
    if (this.#isFirst) {
      this.#isFirst = false;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    // A CR ends a line, and an LF that follows it belongs to the same end, be it in the next chunk.
    if (this.#afterCr && text.charCodeAt(0) === 10) text = text.slice(1);
    this.#afterCr = false;
    if (text === '') return;
    this.#afterCr = text.charCodeAt(text.length - 1) === 13;
    const hasCr = text.includes('\r');
    let from = 0;
    for (;;) {
      const end = hasCr ? endOfLine(text, from) : text.indexOf('\n', from);
      if (end === -1) break;
      const part = text.slice(from, end);
      const line = this.#rest.length === 0 ? part : this.#rest.join('') + part;
      this.#rest = [];
      this.#restSize = 0;
      this.#line(line);
      from = end + (hasCr && text.startsWith('\r\n', end) ? 2 : 1);
    }
    if (from === text.length) return;
    this.#rest.push(text.slice(from));
    this.#restSize += text.length - from;
    if (this.#restSize + this.#size > this.#limit) this.#tooLarge();
  }

  #line(line: string): void {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return;
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(line.charCodeAt(colon + 1) === 32 ? colon + 2 : colon + 1);
    if (field === 'data') {
      this.#size += value.length + 1;
      if (this.#size > this.#limit) this.#tooLarge();
      this.#data.push(value);
    } else if (field === 'event') {
      this.#type = value;
    } else if (field === 'id') {
      if (!value.includes('\0') && value.length <= LONGEST_ID) this.#id = value;
    } else if (field === 'retry') {
      if (/^\d{1,9}$/.test(value)) this.retryMs = Number(value);
    }
  }

  #dispatch(): void {
    if (this.#id !== undefined) this.lastEventId = this.#id === '' ? undefined : this.#id;
    const [first, ...more] = this.#data;
    const type = this.#type || 'message';
    this.#type = '';
    this.#data = [];
    this.#size = 0;
    if (first === undefined) return;
    const data = more.length === 0 ? first : [first, ...more].join('\n');
    if (data !== '') this.#onEvent({ type, data });
  }

  #tooLarge(): never {
    throw new ResponseTooLargeError(
      `The server sent an event of more than ${Math.floor(this.#limit / (1024 * 1024))} MiB; reading stopped there.`,
      { hint: 'Ask for less at a time, or tell who runs the server.' },
    );
  }
}

function endOfLine(text: string, from: number): number {
  const [lf, cr] = [text.indexOf('\n', from), text.indexOf('\r', from)];
  if (cr === -1 || lf === -1) return Math.max(lf, cr);
  return Math.min(lf, cr);
}
