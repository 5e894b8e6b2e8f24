import { StringDecoder } from 'node:string_decoder';
import { createParser } from 'eventsource-parser';
import { ResponseTooLargeError } from '../../errors.ts';

/* Server-sent events (HTML standard, section 9.2.6), read by `eventsource-parser`, with a limit. */

export interface StreamEvent {
  /** `message` when the server did not name the event. */
  readonly type: string;
  readonly data: string;
}

/** Maximum size of one event with all its fields and comments, in characters. */
const MAX_CHARACTERS = 64 * 1024 * 1024;

/** Maximum length of an event id, in characters: the proxy sends the id back in a header. */
const MAX_ID_LENGTH = 8 * 1024;

/** Maximum of `retry:`, in milliseconds: about 11 days. */
const MAX_RETRY_MS = 999_999_999;

/** Reads a stream of events. An event with an empty `data` field only sets `lastEventId`; one without the field is skipped. */
export class EventStream {
  /** The id of the last event that arrived whole, if the server sends ids. */
  lastEventId: string | undefined;
  /** The reconnection time that the server asked for with `retry:`, in milliseconds. */
  retryMs: number | undefined;
  readonly #limit: number;
  readonly #decoder = new StringDecoder('utf8');
  readonly #parser: ReturnType<typeof createParser>;
  #isFirst = true;
  #isAfterCr = false;
  /** Number of characters of the event that has not ended, and of its last line. */
  #length = 0;
  #lineLength = 0;

  constructor(onEvent: (event: StreamEvent) => void, limit = MAX_CHARACTERS) {
    this.#limit = limit;
    this.#parser = createParser({
      onEvent: ({ id, event = 'message', data }) => {
        if (id !== undefined && id.length <= MAX_ID_LENGTH) this.lastEventId = id === '' ? undefined : id;
        if (data !== '') onEvent({ type: event, data });
      },
      onRetry: (ms) => {
        if (ms <= MAX_RETRY_MS) this.retryMs = ms;
      },
    });
  }

  /** @throws ResponseTooLargeError when an event exceeds the limit, after the events before it were passed on */
  write(chunk: Buffer): void {
    const text = this.#lines(this.#decoder.write(chunk));
    const end = this.#withinLimit(text);
    if (end > 0) this.#parser.feed(text.slice(0, end));
    if (end === text.length) return;
    throw new ResponseTooLargeError(
      `The server sent an event of more than ${Math.floor(this.#limit / (1024 * 1024))} MiB; reading stopped there.`,
      { hint: 'Ask for less at a time, or tell who runs the server.' },
    );
  }

  /**
   * Counts the characters of each event. The parser's own limit depends on how the stream was cut into chunks.
   *
   * @returns the end of the text that may be read: its length, or the start of the event that exceeds the limit
   */
  #withinLimit(text: string): number {
    let eventStart = 0;
    for (let start = 0; start < text.length; ) {
      const end = text.indexOf('\n', start);
      const length = (end === -1 ? text.length : end) - start;
      this.#lineLength += length;
      this.#length += length;
      if (this.#length > this.#limit) return eventStart;
      if (end === -1) break;
      start = end + 1;
      if (this.#lineLength === 0) [this.#length, eventStart] = [0, start];
      else this.#length += 1;
      this.#lineLength = 0;
    }
    return text.length;
  }

  /**
   * The text with LF at the end of each line. The parser keeps a CR at the end of a chunk back until it has seen the next one,
   * which may come only after the client has answered the event.
   */
  #lines(decoded: string): string {
    if (decoded === '') return '';
    let text = decoded;
    if (this.#isFirst && text.startsWith('\ufeff')) text = text.slice(1);
    this.#isFirst = false;
    if (this.#isAfterCr && text.startsWith('\n')) text = text.slice(1);
    this.#isAfterCr = text.endsWith('\r');
    return text.includes('\r') ? text.replace(/\r\n?/g, '\n') : text;
  }
}
