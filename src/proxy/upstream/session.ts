import { type Incoming, isRequest } from '../relay/message.ts';
import { HttpFailure } from './server-transport.ts';

/* A session at the server (revisions 2025-03-26 to 2025-11-25), and the data that restarts it. */

export interface Session {
  id?: string;
  version?: string;
  /** The server answered that it has no such stream. */
  hasNoStream?: boolean;
}

export function sessionHeaders({ id, version }: Session): Record<string, string> {
  return {
    ...(id !== undefined && { 'mcp-session-id': id }),
    ...(version !== undefined && { 'mcp-protocol-version': version }),
  };
}

/** The specification says 404 (Session Management, 3). Many servers send 400, among them the SDK's examples. */
export function endsSession(error: unknown, { id }: Session): boolean {
  if (!(error instanceof HttpFailure) || id === undefined) return false;
  return error.status === 404 || (error.status === 400 && /session|not initialized/i.test(error.body));
}

/** The messages that restart a session: the client's introduction, its resource subscriptions and its log level. */
export class SessionState {
  readonly initialize: Incoming | undefined;
  initialized: Incoming | undefined;
  #logLevel: Incoming | undefined;
  readonly #subscriptions = new Map<string, Incoming>();

  constructor(initialize: Incoming | undefined) {
    this.initialize = initialize;
  }

  /** Records a message that the server has accepted. */
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

  /** All recorded messages, in order. */
  replay(): Incoming[] {
    return [this.initialize, this.initialized, this.#logLevel, ...this.#subscriptions.values()].filter(
      (incoming): incoming is Incoming => incoming !== undefined,
    );
  }
}
