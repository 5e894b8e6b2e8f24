import { type Id, type Incoming, isRequest, type Message } from './message.ts';

/* The client's requests that wait for an answer: each is answered once, and a cancelled one not at all. */

export type Request = Message & { id: Id; method: string };

/** One message of the client's, with the requests in it that wait: one, or several of a batch. */
export interface Pending {
  readonly incoming: Incoming;
  readonly unanswered: Map<string, Request>;
  readonly controller: AbortController;
  /** Resolves when none of its requests waits any more. */
  readonly answered: Promise<void>;
  readonly settle: () => void;
  /** Where the client is not to see the answer. */
  readonly onAnswer: ((answer: Message) => void) | undefined;
}

export function pendingOf(incoming: Incoming, onAnswer?: (answer: Message) => void): Pending {
  let settle = () => {};
  const answered = new Promise<void>((resolve) => (settle = resolve));
  const requests = incoming.messages.filter(isRequest);
  const unanswered = new Map(requests.map((request) => [keyOf(request.id), request]));
  return { incoming, unanswered, controller: new AbortController(), answered, settle, onAnswer };
}

/** Two ids are the same only if they are of one type: "1" is not 1. */
export function keyOf(id: Id): string {
  return typeof id === 'string' ? `s${id}` : `n${id}`;
}

export class InFlight {
  readonly #pending = new Map<string, Pending>();

  /** @returns a request of it whose id another one has that still waits; nothing was added then */
  add(pending: Pending): Request | undefined {
    for (const [key, request] of pending.unanswered) if (this.#pending.has(key)) return request;
    for (const key of pending.unanswered.keys()) this.#pending.set(key, pending);
    return undefined;
  }

  get(id: unknown): Pending | undefined {
    return typeof id === 'string' || typeof id === 'number' ? this.#pending.get(keyOf(id)) : undefined;
  }

  /** The request has its answer. Whether it waited for one. */
  settle(pending: Pending, id: Id): boolean {
    const key = keyOf(id);
    if (this.#pending.get(key) !== pending || !pending.unanswered.delete(key)) return false;
    this.#pending.delete(key);
    if (pending.unanswered.size === 0) pending.settle();
    return true;
  }

  /** Nobody waits for it any more. */
  drop(pending: Pending): void {
    for (const { id } of pending.unanswered.values()) this.settle(pending, id);
  }

  all(): Pending[] {
    return [...new Set(this.#pending.values())];
  }
}
