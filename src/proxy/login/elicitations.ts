import { randomUUID } from 'node:crypto';
import { displayUrl } from '../../display-url.ts';
import type { Id, Message } from '../relay/message.ts';
import { isObject } from '../relay/message.ts';
import type { AskingClient, Elicited } from './login-coordinator.ts';

/* Holdfast's own requests to the client: `elicitation/create` in URL mode (MCP revision 2025-11-25). */

/** This prefix tells Holdfast's requests apart from the server's. */
const PREFIX = 'holdfast-';

export class Elicitations implements AskingClient {
  readonly #write: (text: string) => void;
  readonly #resource: string;
  readonly #closed: AbortSignal;
  #last: string | undefined;
  readonly #waiting = new Map<Id, (answer: Elicited) => void>();

  constructor(write: (text: string) => void, resource: string, closed: AbortSignal) {
    this.#write = write;
    this.#resource = resource;
    this.#closed = closed;
  }

  async ask(url: string): Promise<Elicited> {
    const elicitationId = randomUUID();
    const id = `${PREFIX}${elicitationId}`;
    this.#last = elicitationId;
    let stop = () => {};
    const answer = new Promise<Elicited>((resolve) => {
      this.#waiting.set(id, resolve);
      stop = () => resolve('cancel');
      this.#closed.addEventListener('abort', stop, { once: true });
    });
    const message = `Log in to ${displayUrl(this.#resource)} to go on.`;
    const params = { mode: 'url', message, url, elicitationId };
    this.#write(JSON.stringify({ jsonrpc: '2.0', id, method: 'elicitation/create', params }));
    try {
      return await answer;
    } finally {
      this.#waiting.delete(id);
      this.#closed.removeEventListener('abort', stop);
    }
  }

  complete(): void {
    if (this.#last === undefined) return;
    const params = { elicitationId: this.#last };
    this.#last = undefined;
    this.#write(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/elicitation/complete', params }));
  }

  /** Takes the client's answer to one of these requests. @returns false for any other message */
  take({ id, method, result }: Message): boolean {
    if (method !== undefined || typeof id !== 'string' || !id.startsWith(PREFIX)) return false;
    const action = isObject(result) ? result['action'] : undefined;
    this.#waiting.get(id)?.(action === 'accept' || action === 'decline' ? action : 'cancel');
    return true;
  }
}
