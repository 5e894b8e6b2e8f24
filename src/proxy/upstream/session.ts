import { type Incoming, isRequest } from '../relay/message.ts';
import { HttpFailure } from './server-transport.ts';

/* A session at the server (revisions 2025-03-26 to 2025-11-25), and what is needed to begin it anew. */

export interface Session {
  id?: string;
  version?: string;
  /** The server has said so. */
  hasNoStream?: boolean;
}

export function sessionHeaders({ id, version }: Session): Record<string, string> {
  return {
    ...(id !== undefined && { 'mcp-session-id': id }),
    ...(version !== undefined && { 'mcp-protocol-version': version }),
  };
}

/** 404 is what the specification says (Session Management, 3); many servers, the SDK's examples first, say 400. */
export function endsSession(error: unknown, { id }: Session): boolean {
  if (!(error instanceof HttpFailure) || id === undefined) return false;
  return error.status === 404 || (error.status === 400 && /session|not initialized/i.test(error.body));
}

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
