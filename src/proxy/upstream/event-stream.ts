import { StringDecoder } from 'node:string_decoder';
import { createParser, type ParseError } from 'eventsource-parser';
import { ResponseTooLargeError } from '../../errors.ts';

/* Server-sent events (HTML standard, section 9.2.6), read by `eventsource-parser`, with a limit. */

export interface StreamEvent {
  /** `message` when the server did not name the event. */
  readonly type: string;
  readonly data: string;
}

/** Maximum size of one event, in characters. */
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
  #isTooLarge = false;

  constructor(onEvent: (event: StreamEvent) => void, limit = MAX_CHARACTERS) {
    this.#limit = limit;
    this.#parser = createParser({
      maxBufferSize: limit,
      onEvent: ({ id, event = 'message', data }) => {
        if (id !== undefined && id.length <= MAX_ID_LENGTH) this.lastEventId = id === '' ? undefined : id;
        if (data !== '') onEvent({ type: event, data });
      },
      onRetry: (ms) => {
        if (ms <= MAX_RETRY_MS) this.retryMs = ms;
      },
      onError: ({ type }: ParseError) => {
        this.#isTooLarge ||= type === 'max-buffer-size-exceeded';
      },
    });
  }

  /** @throws ResponseTooLargeError when an event exceeds the limit */
  write(chunk: Buffer): void {
    const text = this.#lines(this.#decoder.write(chunk));
    if (text !== '') this.#parser.feed(text);
    if (!this.#isTooLarge) return;
    throw new ResponseTooLargeError(
      `The server sent an event of more than ${Math.floor(this.#limit / (1024 * 1024))} MiB; reading stopped there.`,
      { hint: 'Ask for less at a time, or tell who runs the server.' },
    );
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
