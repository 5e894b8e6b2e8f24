import { type Id, type Incoming, isRequest, type Message } from './message.ts';

/* The client's open requests. Each gets one answer; a cancelled request gets none. */

export type Request = Message & { id: Id; method: string };

/** One message from the client, with its open requests: one request, or several in a batch. */
export interface Pending {
  readonly incoming: Incoming;
  readonly unanswered: Map<string, Request>;
  readonly controller: AbortController;
  /** Resolves when all its requests are settled. */
  readonly answered: Promise<void>;
  readonly settle: () => void;
  /** Receives the answer in place of the client, if the client must not see it. */
  readonly onAnswer: ((answer: Message) => void) | undefined;
}

export function pendingOf(incoming: Incoming, onAnswer?: (answer: Message) => void): Pending {
  let settle = () => {};
  const answered = new Promise<void>((resolve) => (settle = resolve));
  const requests = incoming.messages.filter(isRequest);
  const unanswered = new Map(requests.map((request) => [keyOf(request.id), request]));
  return { incoming, unanswered, controller: new AbortController(), answered, settle, onAnswer };
}

/** Ids are equal only if their types are equal: "1" is not 1. */
export function keyOf(id: Id): string {
  return typeof id === 'string' ? `s${id}` : `n${id}`;
}

export class InFlight {
  readonly #pending = new Map<string, Pending>();

  /** @returns a request whose id another open request already uses; nothing is added then */
  add(pending: Pending): Request | undefined {
    for (const [key, request] of pending.unanswered) if (this.#pending.has(key)) return request;
    for (const key of pending.unanswered.keys()) this.#pending.set(key, pending);
    return undefined;
  }

  get(id: unknown): Pending | undefined {
    return typeof id === 'string' || typeof id === 'number' ? this.#pending.get(keyOf(id)) : undefined;
  }

  /** Marks the request as answered. @returns false if it was not open */
  settle(pending: Pending, id: Id): boolean {
    const key = keyOf(id);
    if (this.#pending.get(key) !== pending || !pending.unanswered.delete(key)) return false;
    this.#pending.delete(key);
    if (pending.unanswered.size === 0) pending.settle();
    return true;
  }

  /** Settles all its requests, since nobody waits for them now. */
  drop(pending: Pending): void {
    for (const { id } of pending.unanswered.values()) this.settle(pending, id);
  }

  all(): Pending[] {
    return [...new Set(this.#pending.values())];
  }
}
