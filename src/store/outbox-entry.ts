import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';
import { MAX_RECORD_BYTES } from '../sealing.ts';
import type { OutboxEntry } from './engine.ts';

/** What an entry is ordered by. */
export interface OutboxOrder {
  readonly generation: number;
  readonly epoch: number;
}

/** @throws InvalidArgumentError for a name that is not `generation.epoch.random`, or a record that is too large */
export function outboxOrder({ name, record }: OutboxEntry): OutboxOrder {
  const [, generation, epoch] = /^(\d{1,16})\.(\d{1,16})\.[\w-]{1,64}$/.exec(name) ?? [];
  if (!Number.isSafeInteger(Number(generation)) || !Number.isSafeInteger(Number(epoch))) {
    throw new InvalidArgumentError(`An outbox entry cannot be called ${quote(name, 60)}.`, {
      hint: 'Its name is generation.epoch.random, as in 12.1790000000000.Zm9v.',
    });
  }
  if (Buffer.byteLength(record) > MAX_RECORD_BYTES) {
    throw new InvalidArgumentError(`An outbox entry may have ${MAX_RECORD_BYTES} bytes; this one has more.`);
  }
  return { generation: Number(generation), epoch: Number(epoch) };
}
