import { NetworkError } from '../../errors.ts';
import type { HttpResponse } from '../../http/fetch.ts';
import { readMessage } from '../relay/message.ts';
import { EventStream } from './event-stream.ts';
import type { Deliver } from './server-transport.ts';

/* A stream of messages, which may have to be taken up again where it broke off. */

/** Up to where a stream was read. */
export interface Position {
  lastEventId?: string;
  retryMs?: number;
}

/** Hands on every message of the stream. What is none is left out, as the standard for events has it. */
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
