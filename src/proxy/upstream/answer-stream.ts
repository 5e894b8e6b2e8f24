import { NetworkError } from '../../errors.ts';
import type { HttpResponse } from '../../http/fetch.ts';
import { readMessage } from '../relay/message.ts';
import { EventStream } from './event-stream.ts';
import type { Deliver } from './server-transport.ts';

/* A stream of messages that may have to be resumed after it breaks off. */

/** The point up to which a stream was read. */
export interface Position {
  lastEventId?: string;
  retryMs?: number;
}

/** Delivers every message of the stream. Skips other events, as the standard for events requires. */
export async function readEvents(
  response: HttpResponse,
  position: Position,
  deliver: Deliver,
): Promise<void> {
  const events = new EventStream(({ type, data }) => {
    if (type !== 'message') return;
    const incoming = readMessage(data);
    if (incoming !== undefined) deliver(incoming);
  });
  await response.chunks((chunk) => {
    events.write(chunk);
    if (events.lastEventId !== undefined) position.lastEventId = events.lastEventId;
    if (events.retryMs !== undefined) position.retryMs = events.retryMs;
  });
}

export function brokenOff(url: string, cause: unknown): NetworkError {
  return new NetworkError(`The connection to ${new URL(url).host} broke off before the answer came.`, {
    cause,
    hint: 'The server may have done what it was asked. Look before you ask again.',
  });
}
