import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';
import { MAX_RECORD_BYTES } from '../sealing.ts';
import type { OutboxEntry } from './engine/engine.ts';

/** The numbers that order outbox entries. */
export interface OutboxOrder {
  readonly generation: number;
  readonly epoch: number;
}

/**
 * Parses the name of an outbox entry.
 *
 * @returns `undefined` for a name that is not `generation.epoch.random`: anyone with write access to the engine can
 *   use one
 */
export function orderOfName(name: string): OutboxOrder | undefined {
  const [, generation, epoch] = /^(\d{1,16})\.(\d{1,16})\.[\w-]{1,64}$/.exec(name) ?? [];
  const order = { generation: Number(generation), epoch: Number(epoch) };
  return Object.values(order).every(Number.isSafeInteger) ? order : undefined;
}

/**
 * Parses the name of an entry, and checks the size of its record.
 *
 * @throws InvalidArgumentError for a name that is not `generation.epoch.random`, or a record that is too large
 */
export function outboxOrder({ name, record }: OutboxEntry): OutboxOrder {
  const order = orderOfName(name);
  if (order === undefined) {
    throw new InvalidArgumentError(`An outbox entry cannot be called ${quote(name, 60)}.`, {
      hint: 'Its name is generation.epoch.random, as in 12.1790000000000.Zm9v.',
    });
  }
  if (Buffer.byteLength(record) > MAX_RECORD_BYTES) {
    throw new InvalidArgumentError(`An outbox entry may have ${MAX_RECORD_BYTES} bytes; this one has more.`);
  }
  return order;
}
