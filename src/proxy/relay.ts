import { HoldfastError } from '../errors.ts';
import { quote } from '../quote.ts';
import { loginCommand } from '../vault/login-required.ts';
import { Elicitations } from './elicitations.ts';
import type { LoginDesk } from './login-desk.ts';
import {
  claimedVersion,
  CODE,
  errorText,
  type Id,
  type Incoming,
  isNotification,
  isObject,
  isRequest,
  type Message,
  readMessage,
} from './message.ts';
import { capabilitiesOf, type RequestHeaders } from './request-headers.ts';
import {
  capabilityOf,
  emptyList,
  loggedInAnswer,
  LOGIN_TOOL,
  type Problem,
  standInAnswer,
} from './stand-in.ts';
import { HttpFailure, type Wire } from './wire.ts';

/*
 * Between a client on standard input and output and its server on the wire. Every message goes on as it came; requests are
 * remembered until they are answered, so that each is answered once, and a cancelled one not at all. While nobody is logged
 * in, this answers in the server's place.
 */

/** How long a client is let wait for a login before it is answered without, in milliseconds: some give up after 10 s. */
const START_PATIENCE_MS = 8_000;

/** How often a login that somebody makes elsewhere is looked for, in milliseconds. */
const LOOK_EVERY_MS = 5_000;

/** Nothing that is sent after a notification overtakes it, unless the server takes longer than this over it. */
const LONGEST_GATE_MS = 5_000;

export interface RelayParts {
  readonly wire: Wire;
  readonly requestHeaders: RequestHeaders;
  /** Writes one message to the client. */
  readonly write: (text: string) => void;
  /** For a server that is used with a login of the vault; else whatever it answers is passed on. */
  readonly login?: RelayLogin | undefined;
  readonly resource: string;
  readonly warn: (message: string) => void;
  readonly debug: (message: string) => void;
}

export interface RelayLogin {
  readonly desk: LoginDesk;
  readonly account: string;
  /** The generation of the login that is there. */
  readonly generation: () => Promise<number | undefined>;
}

type Request = Message & { id: Id; method: string };

/** How the client began, to be told to the server when it can be reached. */
interface StandIn {
  readonly initialize: Incoming;
  initialized: Incoming | undefined;
}

/** One message of the client's that waits for answers. */
interface Pending {
  readonly incoming: Incoming;
  readonly unanswered: Map<string, Request>;
  readonly controller: AbortController;
  readonly answered: Promise<void>;
  readonly settle: () => void;
  /** Where the client is not to see the answer. */
  readonly onAnswer?: ((answer: Message) => void) | undefined;
}

export class Relay {
  readonly #parts: RelayParts;
  readonly #inFlight = new Map<string, Pending>();
  readonly #elicitations: Elicitations;
  readonly #closed = new AbortController();
  #gate: Promise<void> = Promise.resolve();
  /** The client's `initialize`, while this stands in for the server. */
  #standIn: StandIn | undefined;
  /** What the server can do, where it was not the server who told the client. */
  #capabilities: Readonly<Record<string, unknown>> | undefined;
  #entering: Promise<boolean> | undefined;
  #looking: NodeJS.Timeout | undefined;
  #fruitless: number | undefined;

  constructor(parts: RelayParts) {
    this.#parts = parts;
    this.#elicitations = new Elicitations(parts.write, parts.resource, this.#closed.signal);
  }

  /** Takes one line of the client's. */
  receive(line: string): void {
    const incoming = readMessage(line);
    if (incoming === undefined) {
      this.#parts.write(errorText(null, { code: CODE.parseError, message: 'Not a JSON-RPC message.' }));
      return;
    }
    const [first] = incoming.messages as [Message, ...Message[]];
    if (this.#elicitations.take(first)) return;
    if (first.method === 'notifications/cancelled' && this.#cancel(incoming, first)) return;
    this.#meet(first);
    const pending = pendingOf(incoming);
    for (const [key, request] of pending.unanswered) {
      if (this.#inFlight.has(key)) {
        const message = 'There is a request with that id already.';
        this.#parts.write(errorText(request.id, { code: CODE.invalidRequest, message }));
        return;
      }
    }
    for (const key of pending.unanswered.keys()) this.#inFlight.set(key, pending);
    const gate = this.#gate;
    const handled = this.#handle(pending, gate);
    if (isNotification(first)) this.#gate = atMost(LONGEST_GATE_MS, handled);
    if (first.method === 'initialize') this.#gate = Promise.race([handled, pending.answered]);
  }

  /** Takes what the server sends. */
  deliver(incoming: Incoming): void {
    let wanted = incoming.messages.length === 0;
    for (const message of incoming.messages) wanted = this.#answer(message, incoming) || wanted;
    if (wanted) this.#parts.write(incoming.text);
  }

  /**
   * No more will come from the client: ends after the answers that come within `graceMs`, and after the session has ended at
   * the server, which takes no longer than `closeMs`.
   */
  async end(graceMs: number, closeMs: number): Promise<void> {
    clearInterval(this.#looking);
    const open = [...new Set(this.#inFlight.values())].map(({ answered }) => answered);
    if (open.length > 0) await atMost(graceMs, Promise.all(open));
    this.#closed.abort();
    for (const { controller } of this.#inFlight.values()) controller.abort();
    await this.#parts.wire.close(closeMs);
  }

  async #handle(pending: Pending, gate: Promise<void>): Promise<void> {
    const [first] = pending.incoming.messages as [Message, ...Message[]];
    try {
      await gate;
      if (first.method === 'initialize') await this.#initialize(pending);
      else if (this.#standIn === undefined) await this.#forward(pending);
      else await this.#withoutServer(pending, first);
    } catch (error) {
      this.#fail(pending, error);
    }
  }

  async #initialize(pending: Pending): Promise<void> {
    const desk = this.#parts.login?.desk;
    this.#standIn = undefined;
    this.#capabilities = undefined;
    try {
      // The client shows no URL before it has been answered, so it is asked later.
      const person = desk !== undefined && desk.client === undefined && desk.canAsk;
      const send = () => this.#send(pending, person);
      await (desk === undefined ? send() : desk.within(START_PATIENCE_MS, send));
    } catch (error) {
      if (desk === undefined || !isForPerson(error)) throw error;
      this.#standIn = { initialize: pending.incoming, initialized: undefined };
      this.#answerHere(pending, error);
    }
  }

  /** While this stands in for the server. */
  async #withoutServer(pending: Pending, first: Message): Promise<void> {
    const standIn = this.#standIn;
    if (first.method === 'notifications/initialized' && standIn !== undefined) {
      standIn.initialized = pending.incoming;
      return;
    }
    if (!isRequest(first)) return;
    if (first.method === 'ping') return this.#answerHere(pending, undefined);
    const isCall = first.method === 'tools/call';
    let problem: unknown;
    try {
      if (await this.#enter(isCall && this.#mayAsk(first))) return await this.#forward(pending);
    } catch (error) {
      if (!isForPerson(error)) throw error;
      problem = error;
    }
    this.#answerHere(pending, problem);
  }

  async #forward(pending: Pending): Promise<void> {
    const [first] = pending.incoming.messages as [Message, ...Message[]];
    if (isRequest(first) && this.#capabilities !== undefined) {
      const capability = capabilityOf(first.method);
      const empty = capability === undefined || this.#capabilities[capability] ? undefined : emptyList(first);
      if (empty !== undefined) return this.#write(pending, first, empty);
    }
    const isLogin = isRequest(first) && first.method === 'tools/call' && first.params['name'] === LOGIN_TOOL;
    const { login, resource } = this.#parts;
    if (isLogin && login !== undefined && (await login.generation()) !== undefined) {
      return this.#write(
        pending,
        first,
        loggedInAnswer(first, resource, claimedVersion(first) !== undefined),
      );
    }
    await this.#send(pending, isRequest(first) && this.#mayAsk(first));
  }

  async #send(pending: Pending, person: boolean): Promise<void> {
    const { incoming, controller, answered, unanswered } = pending;
    await this.#parts.wire.send(incoming, {
      signal: controller.signal,
      person,
      answered,
      isAnswered: () => unanswered.size === 0,
    });
  }

  /** Whether a person may be asked to log in for this request: for the calls of tools, which they are waiting for. */
  #mayAsk({ method, params }: Request): boolean {
    const desk = this.#parts.login?.desk;
    if (desk === undefined || method !== 'tools/call') return false;
    if (params['name'] === LOGIN_TOOL) desk.insist();
    return desk.canAsk;
  }

  /** Reaches the server behind the stand-in, if there is a login for it now. One try for all who wait. */
  async #enter(person: boolean): Promise<boolean> {
    while (this.#entering !== undefined) if (await this.#entering) return true;
    const standIn = this.#standIn;
    if (standIn === undefined) return true;
    this.#entering = this.#tryToEnter(standIn, person);
    try {
      return await this.#entering;
    } finally {
      this.#entering = undefined;
    }
  }

  async #tryToEnter(standIn: StandIn, person: boolean): Promise<boolean> {
    const generation = await this.#parts.login?.generation();
    if (!person && (generation === undefined || generation === this.#fruitless)) return false;
    let answer: Message | undefined;
    const pending = pendingOf(standIn.initialize, (message) => (answer = message));
    const keys = [...pending.unanswered.keys()];
    for (const key of keys) this.#inFlight.set(key, pending);
    try {
      await Promise.race([this.#send(pending, person), pending.answered]);
    } catch (error) {
      this.#fruitless = generation;
      if (!person && isForPerson(error)) return false;
      throw error;
    } finally {
      for (const key of keys) if (this.#inFlight.get(key) === pending) this.#inFlight.delete(key);
    }
    const result = answer?.result;
    if (!isObject(result))
      throw new Error(`The server refused to begin: ${quote(JSON.stringify(answer?.error ?? {}))}`);
    this.#capabilities = isObject(result['capabilities']) ? result['capabilities'] : {};
    if (standIn.initialized !== undefined) await this.#send(pendingOf(standIn.initialized), false);
    this.#standIn = undefined;
    this.#tellChanges();
    return true;
  }

  #tellChanges(): void {
    clearInterval(this.#looking);
    this.#looking = undefined;
    for (const area of ['tools', 'prompts', 'resources']) {
      this.#parts.write(`{"jsonrpc":"2.0","method":"notifications/${area}/list_changed"}`);
    }
  }

  /** Answers in the server's place, and looks for a login from now on. */
  #answerHere(pending: Pending, error: unknown): void {
    const problem = this.#problem(error);
    for (const request of pending.unanswered.values())
      this.#write(pending, request, standInAnswer(request, problem));
    this.#looking ??= setInterval(() => void this.#look().catch(() => {}), LOOK_EVERY_MS).unref();
  }

  async #look(): Promise<void> {
    const generation = await this.#parts.login?.generation();
    if (generation === undefined || generation === this.#fruitless) return;
    if (this.#standIn !== undefined) await this.#enter(false);
    else if (this.#looking !== undefined) this.#tellChanges();
  }

  #problem(error: unknown): Problem {
    const { resource, login } = this.#parts;
    const command = loginCommand(resource, login?.account ?? 'default');
    const cause = error ?? login?.desk.failure;
    const why = cause instanceof HoldfastError ? cause.message : `There is no login to ${resource}.`;
    const hint =
      cause instanceof HoldfastError && cause.hint?.includes('holdfast')
        ? cause.hint
        : `Log in with: ${command}`;
    return { text: `${why}\n${hint}`, resource, command };
  }

  #write(pending: Pending, request: Request, text: string): void {
    if (this.#settle(pending, keyOf(request.id))) this.#parts.write(text);
  }

  /** Whether the client is to see it: an answer to nothing that it asked, or the second to the same, is none. */
  #answer(message: Message, incoming: Incoming): boolean {
    if (message.method !== undefined) return true;
    if (message.id === undefined) {
      this.#parts.debug('the server sent an error that answers nothing');
      return false;
    }
    const key = keyOf(message.id);
    const pending = this.#inFlight.get(key);
    if (pending === undefined) return false;
    if (pending.unanswered.get(key)?.method === 'tools/list') this.#parts.requestHeaders.learn(incoming);
    this.#settle(pending, key);
    pending.onAnswer?.(message);
    return pending.onAnswer === undefined;
  }

  #settle(pending: Pending, key: string): boolean {
    if (this.#inFlight.get(key) !== pending || !pending.unanswered.delete(key)) return false;
    this.#inFlight.delete(key);
    if (pending.unanswered.size === 0) pending.settle();
    return true;
  }

  /** Ends a request that the client no longer wants. Whether that is all there is to do. */
  #cancel(incoming: Incoming, { params }: Message): boolean {
    const id = params['requestId'];
    const key = typeof id === 'string' || typeof id === 'number' ? keyOf(id) : '';
    const pending = this.#inFlight.get(key);
    if (pending === undefined) return this.#standIn !== undefined;
    const request = pending.unanswered.get(key);
    this.#settle(pending, key);
    const isLast = pending.unanswered.size === 0;
    // From revision 2026-07-28 on, closing the stream is how a request is cancelled; before, it says nothing.
    const told =
      (request !== undefined && claimedVersion(request) !== undefined) || this.#standIn !== undefined
        ? Promise.resolve()
        : this.#send(pendingOf(incoming), false);
    void told
      .catch(() => {})
      .finally(() => {
        if (isLast) pending.controller.abort(new Error('The client cancelled the request.'));
      });
    return true;
  }

  /** Whether the client can show the person a URL. */
  #meet(message: Message): void {
    const desk = this.#parts.login?.desk;
    const capabilities = capabilitiesOf(message);
    if (desk === undefined || capabilities === undefined || message.method !== 'initialize') return;
    const elicitation = capabilities['elicitation'];
    const can = isObject(elicitation) && isObject(elicitation['url']);
    desk.client = can ? this.#elicitations : undefined;
  }

  #fail(pending: Pending, error: unknown): void {
    if (pending.controller.signal.aborted) return;
    const { login, warn } = this.#parts;
    if (login !== undefined && isForPerson(error)) return this.#answerHere(pending, error);
    if (pending.unanswered.size === 0) {
      if (!this.#closed.signal.aborted) warn(`A message could not be handed on: ${describe(error)}`);
      return;
    }
    for (const request of pending.unanswered.values()) {
      this.#write(pending, request, errorText(request.id, rpcError(error)));
    }
  }
}

function pendingOf(incoming: Incoming, onAnswer?: (answer: Message) => void): Pending {
  let settle = () => {};
  const answered = new Promise<void>((resolve) => (settle = resolve));
  const requests = incoming.messages.filter(isRequest);
  const unanswered = new Map(requests.map((request) => [keyOf(request.id), request]));
  return { incoming, unanswered, controller: new AbortController(), answered, settle, onAnswer };
}

/** Two ids are the same only if they are of one type: "1" is not 1. */
function keyOf(id: Id): string {
  return typeof id === 'string' ? `s${id}` : `n${id}`;
}

/** What only a person can mend: a login that is missing, or was not made; a keyring that is locked. */
function isForPerson(error: unknown): boolean {
  if (!(error instanceof HoldfastError)) return false;
  return /^(login-|insufficient-scope|keyring-|key-unavailable|callback-|aborted$|record-|storage-)/.test(error.code);
}

/** The server's own error as it is; for all else, what happened and what to do. */
function rpcError(error: unknown): object {
  if (error instanceof HttpFailure) {
    if (error.rpcError !== undefined) return error.rpcError;
    const data = { status: error.status, ...(error.body === '' ? {} : { body: error.body.slice(0, 2000) }) };
    return { code: CODE.unreachable, message: error.message, data };
  }
  const data = error instanceof HoldfastError ? { code: error.code } : undefined;
  return { code: CODE.unreachable, message: describe(error), ...(data && { data }) };
}

function describe(error: unknown): string {
  if (error instanceof HoldfastError)
    return `${error.message}${error.hint === undefined ? '' : ` ${error.hint}`}`;
  return error instanceof Error ? error.message : String(error);
}

function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    work.then(done, done);
  });
}
