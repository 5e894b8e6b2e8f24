import { type Incoming, isRequest } from './message.ts';

/**
 * What a client has told the server of its session, to be told again when the session has to begin anew: who it is, which
 * resources it follows, and how much it wants to read in logs.
 */
export class SessionState {
  readonly initialize: Incoming | undefined;
  initialized: Incoming | undefined;
  #logLevel: Incoming | undefined;
  readonly #subscriptions = new Map<string, Incoming>();

  constructor(initialize: Incoming | undefined) {
    this.initialize = initialize;
  }

  /** Notes a message that the server has taken. */
  learn(incoming: Incoming): void {
    const [message] = incoming.messages;
    if (message === undefined || incoming.isBatch) return;
    const { method, params } = message;
    if (method === 'notifications/initialized') this.initialized = incoming;
    if (!isRequest(message)) return;
    if (method === 'logging/setLevel') this.#logLevel = incoming;
    const uri = params['uri'];
    if (typeof uri !== 'string') return;
    if (method === 'resources/subscribe') this.#subscriptions.set(uri, incoming);
    if (method === 'resources/unsubscribe') this.#subscriptions.delete(uri);
  }

  /** Everything again, in order. */
  replay(): Incoming[] {
    return [this.initialize, this.initialized, this.#logLevel, ...this.#subscriptions.values()].filter(
      (incoming): incoming is Incoming => incoming !== undefined,
    );
  }
}
