import { quote } from '../../quote.ts';
import { Elicitations } from '../login/elicitations.ts';
import { InputRequests } from '../login/input-requests.ts';
import { LoginAsked } from '../login/login-coordinator.ts';
import { LoginPlaceholder, type RelayLogin } from '../login/login-placeholder.ts';
import { LOGIN_TOOL, loggedInAnswer } from '../login/placeholder-answers.ts';
import type { RequestHeaders } from '../upstream/request-headers.ts';
import type { ServerTransport } from '../upstream/server-transport.ts';
import { InFlight, type Pending, pendingOf, type Request } from './in-flight.ts';
import {
  CODE,
  capabilitiesOf,
  claimedVersion,
  errorText,
  type Incoming,
  isNotification,
  isObject,
  isRequest,
  type Message,
  readMessage,
} from './message.ts';
import { describe, isForPerson, rpcError } from './rpc-error.ts';

/*
 * Relays between a client on standard input and output and its server. Both directions forward each message unchanged.
 * Requests run in parallel; the relay waits only for messages that must not be overtaken.
 */

/**
 * Time limit for a starting client to wait for a login, in milliseconds. Then it is answered without one: some clients
 * give up after 10 s.
 */
const START_PATIENCE_MS = 8_000;

/** No later message overtakes a notification, unless the server needs longer than this for it. In milliseconds. */
const LONGEST_GATE_MS = 5_000;

export interface RelayParts {
  readonly transport: ServerTransport;
  readonly requestHeaders: RequestHeaders;
  /** Writes one message to the client. */
  readonly write: (text: string) => void;
  /** Set if the vault's login is used for this server. Otherwise every answer is forwarded as it is. */
  readonly login?: RelayLogin | undefined;
  readonly resource: string;
  readonly warn: (message: string) => void;
  readonly debug: (message: string) => void;
}

export class Relay {
  readonly #parts: RelayParts;
  readonly #inFlight = new InFlight();
  readonly #closed = new AbortController();
  readonly #elicitations: Elicitations;
  readonly #inputRequests: InputRequests;
  readonly #placeholder: LoginPlaceholder;
  #gate: Promise<void> = Promise.resolve();

  constructor(parts: RelayParts) {
    const { write, resource, login } = parts;
    this.#parts = parts;
    this.#elicitations = new Elicitations(write, resource, this.#closed.signal);
    this.#inputRequests = new InputRequests(resource);
    const send = (pending: Pending, person: boolean) => this.#send(pending, person);
    this.#placeholder = new LoginPlaceholder({ login, resource, write, send, inFlight: this.#inFlight });
  }

  /** Takes one line from the client. */
  receive(line: string): void {
    const read = readMessage(line);
    if (read === undefined) {
      this.#parts.write(errorText(null, { code: CODE.parseError, message: 'Not a JSON-RPC message.' }));
      return;
    }
    const incoming = this.#inputRequests.take(read);
    const [first] = incoming.messages as [Message, ...Message[]];
    if (this.#elicitations.take(first)) return;
    if (first.method === 'notifications/cancelled' && this.#cancel(incoming, first)) return;
    this.#meet(first);
    const pending = pendingOf(incoming);
    const twice = this.#inFlight.add(pending);
    if (twice !== undefined) {
      const message = 'There is a request with that id already.';
      this.#parts.write(errorText(twice.id, { code: CODE.invalidRequest, message }));
      return;
    }
    const handled = this.#handle(pending, first, this.#gate);
    if (isNotification(first)) this.#gate = atMost(LONGEST_GATE_MS, handled);
    if (first.method === 'initialize') this.#gate = Promise.race([handled, pending.answered]);
  }

  /** Takes a message from the server. */
  deliver(incoming: Incoming): void {
    const [first] = incoming.messages;
    const text = incoming.isBatch || first === undefined ? incoming.text : this.#usable(first, incoming);
    let wanted = false;
    for (const message of incoming.messages) wanted = this.#isWanted(message) || wanted;
    if (wanted) this.#parts.write(text);
  }

  /**
   * The client sends no more. Waits up to `graceMs` for open answers, then up to `closeMs` for the session to end at
   * the server.
   */
  async end(graceMs: number, closeMs: number): Promise<void> {
    this.#placeholder.close();
    const open = this.#inFlight.all();
    if (open.length > 0) await atMost(graceMs, Promise.all(open.map(({ answered }) => answered)));
    this.#closed.abort();
    for (const { controller } of this.#inFlight.all()) controller.abort();
    await this.#parts.transport.close(closeMs);
  }

  async #handle(pending: Pending, first: Message, gate: Promise<void>): Promise<void> {
    try {
      await gate;
      if (first.method === 'initialize') await this.#initialize(pending);
      else if (this.#placeholder.isOpen) await this.#receiveHere(pending, first);
      else await this.#forward(pending, first);
    } catch (error) {
      this.#fail(pending, error);
    }
  }

  async #initialize(pending: Pending): Promise<void> {
    const coordinator = this.#parts.login?.coordinator;
    this.#placeholder.reset();
    if (coordinator === undefined) return this.#send(pending, false);
    try {
      // The client shows no URL before this answer, so it is asked later.
      const person = coordinator.client === undefined && coordinator.canAsk;
      await coordinator.within(START_PATIENCE_MS, () => this.#send(pending, person));
    } catch (error) {
      if (!isForPerson(error)) throw error;
      this.#placeholder.open(pending.incoming);
      this.#placeholder.answer(pending, error);
    }
  }

  /** Handles a request while the server cannot be reached without a login. */
  async #receiveHere(pending: Pending, first: Message): Promise<void> {
    if (first.method === 'notifications/initialized') await this.#placeholder.initialized(pending.incoming);
    const [request] = pending.unanswered.values();
    if (request === undefined) return;
    let problem: unknown;
    try {
      const entered = request.method !== 'ping' && (await this.#placeholder.enter(this.#mayAsk(request)));
      if (entered) return await this.#forward(pending, first);
    } catch (error) {
      if (!isForPerson(error)) throw error;
      problem = error;
    }
    this.#placeholder.answer(pending, problem);
  }

  async #forward(pending: Pending, first: Message): Promise<void> {
    if (isRequest(first)) {
      const here = this.#placeholder.emptyAnswer(first) ?? (await this.#loginAnswer(first));
      if (here !== undefined) return this.#answer(pending, first, here);
    }
    await this.#send(pending, isRequest(first) && this.#mayAsk(first));
  }

  /** The answer to the login tool, if the login exists. */
  async #loginAnswer(request: Request): Promise<string | undefined> {
    const { login, resource } = this.#parts;
    if (login === undefined || request.method !== 'tools/call' || request.params['name'] !== LOGIN_TOOL) {
      return undefined;
    }
    if ((await login.generation()) === undefined) return undefined;
    return loggedInAnswer(request, resource);
  }

  async #send(pending: Pending, person: boolean): Promise<void> {
    const { incoming, controller, answered, unanswered } = pending;
    await this.#parts.transport.send(incoming, {
      signal: controller.signal,
      person,
      answered,
      isAnswered: () => unanswered.size === 0,
    });
  }

  /**
   * Tells whether the user may be asked to log in for this request. While the server is out of reach, only a tool call
   * may ask, since the user waits for it. Clients request lists automatically, and would open one window after the
   * other.
   */
  #mayAsk({ method, params }: Request): boolean {
    const coordinator = this.#parts.login?.coordinator;
    if (coordinator === undefined || method === 'ping') return false;
    if (coordinator.client === this.#inputRequests && !this.#inputRequests.canAnswer(method)) return false;
    if (method !== 'tools/call') return !this.#placeholder.isOpen && coordinator.canAsk;
    if (params['name'] === LOGIN_TOOL) coordinator.insist();
    return coordinator.canAsk;
  }

  #answer(pending: Pending, { id }: Request, text: string): void {
    if (this.#inFlight.settle(pending, id)) this.#parts.write(text);
  }

  /** Tells whether the client gets this message. It gets no answer without a request, and no second answer. */
  #isWanted({ id, method, ...rest }: Message): boolean {
    if (method !== undefined) return true;
    const pending = this.#inFlight.get(id);
    if (pending === undefined || id === undefined) {
      this.#parts.debug('the server answered what was not asked, or no longer is');
      return false;
    }
    this.#inFlight.settle(pending, id);
    pending.onAnswer?.({ id, method, ...rest });
    return pending.onAnswer === undefined;
  }

  /**
   * The part of an answer that the client gets. From revision 2026-07-28 on, `tools/list` omits tools that cannot be
   * called over HTTP as the specification requires. The server sees this proxy as the client, so the proxy must omit
   * them.
   */
  #usable({ id, method }: Message, incoming: Incoming): string {
    const pending = method === undefined ? this.#inFlight.get(id) : undefined;
    const asked = pending?.incoming.messages.find((request) => request.id === id);
    if (asked?.method !== 'tools/list' || claimedVersion(asked) === undefined) return incoming.text;
    const invalid = this.#parts.requestHeaders.learn(incoming);
    if (invalid.length === 0) return incoming.text;
    this.#parts.warn(`Tools with invalid x-mcp-header were left out: ${quote(invalid.join(', '))}`);
    const answer = JSON.parse(incoming.text) as { result: { tools: { name?: string }[] } };
    answer.result.tools = answer.result.tools.filter(({ name }) => !invalid.includes(name ?? ''));
    return JSON.stringify(answer);
  }

  /** Ends a request that the client has cancelled. @returns true if nothing more is to do */
  #cancel(incoming: Incoming, { params }: Message): boolean {
    const id = params['requestId'];
    const pending = this.#inFlight.get(id);
    if (pending === undefined) return this.#placeholder.isOpen;
    const request = pending.incoming.messages.filter(isRequest).find((one) => one.id === id);
    if (request === undefined) return true;
    this.#inFlight.settle(pending, request.id);
    // From revision 2026-07-28 on, closing the stream cancels a request. Before, a closed stream has no such meaning.
    const isSaid = claimedVersion(request) === undefined && !this.#placeholder.isOpen;
    const told = isSaid ? this.#send(pendingOf(incoming), false) : Promise.resolve();
    const close = () => {
      if (pending.unanswered.size === 0)
        pending.controller.abort(new Error('The client cancelled the request.'));
    };
    void told.then(close, close);
    return true;
  }

  /** Finds out from the client's revision and capabilities whether and how it can show a URL to the user. */
  #meet(message: Message): void {
    const coordinator = this.#parts.login?.coordinator;
    const capabilities = capabilitiesOf(message);
    if (coordinator === undefined || capabilities === undefined) return;
    const elicitation = capabilities['elicitation'];
    const how = message.method === 'initialize' ? this.#elicitations : this.#inputRequests;
    coordinator.client = isObject(elicitation) && isObject(elicitation['url']) ? how : undefined;
  }

  #fail(pending: Pending, error: unknown): void {
    if (pending.controller.signal.aborted) return;
    const [first] = pending.incoming.messages;
    if (error instanceof LoginAsked && first !== undefined && isRequest(first)) {
      return this.#answer(pending, first, this.#inputRequests.answer(first, error));
    }
    // A list request has a login, even if the server wants more scopes. The client shows the missing scope as an error.
    const isHere =
      isForPerson(error) && (error.code !== 'insufficient-scope' || first?.method === 'tools/call');
    if (this.#parts.login !== undefined && isHere) return this.#placeholder.answer(pending, error);
    if (pending.unanswered.size === 0 && !this.#closed.signal.aborted) {
      this.#parts.warn(`A message could not be handed on: ${describe(error)}`);
    }
    for (const request of pending.unanswered.values()) {
      this.#answer(pending, request, errorText(request.id, rpcError(error)));
    }
  }
}

function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const finish = () => {
      clearTimeout(timer);
      resolve();
    };
    work.then(finish, finish);
  });
}
