import { loginCommand } from '../../credentials/login-required.ts';
import { HoldfastError, NetworkError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { type InFlight, type Pending, pendingOf, type Request } from '../relay/in-flight.ts';
import { type Incoming, isObject, type Message } from '../relay/message.ts';
import { isForPerson, isUnusable } from '../relay/rpc-error.ts';
import type { LoginCoordinator } from './login-coordinator.ts';
import { emptyList, type Problem, placeholderAnswer } from './placeholder-answers.ts';

/*
 * Stands in for the server while nobody is logged in. It answers the client and looks for a login. Once a login exists,
 * it starts the session at the server as the client did, and hands over to the server.
 */

/** Interval between looks for a login made elsewhere, in milliseconds. */
const LOOK_EVERY_MS = 5_000;

export interface RelayLogin {
  readonly coordinator: LoginCoordinator;
  readonly account: string;
  /**
   * The generation of the stored login.
   *
   * @throws the error that keeps the login from being read
   */
  readonly generation: () => Promise<number | undefined>;
}

export interface LoginPlaceholderParts {
  readonly login: RelayLogin | undefined;
  readonly resource: string;
  readonly inFlight: InFlight;
  readonly write: (text: string) => void;
  readonly send: (pending: Pending, person: boolean) => Promise<void>;
}

export class LoginPlaceholder {
  readonly #parts: LoginPlaceholderParts;
  /** The client's first messages. */
  #initialize: Incoming | undefined;
  #initialized: Incoming | undefined;
  #told: Incoming | undefined;
  /** The capabilities that the client was told, if the placeholder told them and not the server. */
  #capabilities: Readonly<Record<string, unknown>> | undefined;
  #entering: Promise<boolean> | undefined;
  #looking: NodeJS.Timeout | undefined;
  /** The generation that the server rejected. It is not tried again without a request from the user. */
  #rejected: number | undefined;

  constructor(parts: LoginPlaceholderParts) {
    this.#parts = parts;
    if (parts.login !== undefined) parts.login.coordinator.onLogin = () => void this.#look().catch(() => {});
  }

  /** Tells whether the placeholder answers the client now. */
  get isOpen(): boolean {
    return this.#initialize !== undefined;
  }

  /** The client starts again. The server answers it, until the server asks for a login. */
  reset(): void {
    this.#initialize = undefined;
    this.#initialized = undefined;
    this.#capabilities = undefined;
  }

  open(initialize: Incoming): void {
    this.#initialize = initialize;
  }

  /** The client has received the answer to `initialize`. The server gets this message once it is reached. */
  async initialized(incoming: Incoming): Promise<void> {
    const entering = this.#entering;
    this.#initialized = incoming;
    if (entering === undefined || !(await entering.catch(() => false))) return;
    if (this.#told !== incoming) await this.#tell(incoming);
  }

  /** Answers in the server's place, and looks for a login from now on. */
  answer(pending: Pending, error: unknown): void {
    const problem = this.#problem(error);
    for (const request of pending.unanswered.values()) {
      if (this.#parts.inFlight.settle(pending, request.id))
        this.#parts.write(placeholderAnswer(request, problem));
    }
    this.#looking ??= setInterval(() => void this.#look().catch(() => {}), LOOK_EVERY_MS).unref();
  }

  /** The answer to a list that this server does not support, although the client was told that it might. */
  emptyAnswer(request: Request): string | undefined {
    if (this.#capabilities === undefined) return undefined;
    const [area = ''] = request.method.split('/');
    return this.#capabilities[area] === undefined ? emptyList(request) : undefined;
  }

  /**
   * Reaches the server if a login exists now. All waiting requests share one attempt.
   *
   * @param person whether the user may be asked to log in
   * @throws the transport's error; a missing login is no error if the user may not be asked
   */
  async enter(person: boolean): Promise<boolean> {
    // An attempt that asks nobody does not wait for one that asks the user, which can take minutes.
    if (!person && (await this.#hopeful()) === undefined) return false;
    while (this.#entering !== undefined) if (await this.#entering.catch(() => false)) return true;
    if (this.#initialize === undefined) return true;
    this.#entering = this.#tryToEnter(this.#initialize, person);
    try {
      return await this.#entering;
    } finally {
      this.#entering = undefined;
    }
  }

  close(): void {
    clearInterval(this.#looking);
    this.#looking = undefined;
  }

  async #tryToEnter(initialize: Incoming, person: boolean): Promise<boolean> {
    const { login, inFlight, send } = this.#parts;
    const generation = await login?.generation();
    let answer: Message | undefined;
    const pending = pendingOf(initialize, (message) => (answer = message));
    if (inFlight.add(pending) !== undefined) return false;
    try {
      await Promise.race([send(pending, person), pending.answered]);
    } catch (error) {
      this.#rejected = generation;
      if (!person && isForPerson(error)) return false;
      throw error;
    } finally {
      inFlight.drop(pending);
    }
    const result = answer?.result;
    if (!isObject(result)) throw doesNotBegin(this.#parts.resource, answer);
    this.#capabilities = isObject(result['capabilities']) ? result['capabilities'] : {};
    if (this.#initialized !== undefined) await this.#tell(this.#initialized);
    this.#initialize = undefined;
    this.#tellChanges();
    return true;
  }

  async #tell(initialized: Incoming): Promise<void> {
    this.#told = initialized;
    await this.#parts.send(pendingOf(initialized), false);
  }

  #tellChanges(): void {
    this.close();
    for (const area of ['tools', 'prompts', 'resources']) {
      this.#parts.write(`{"jsonrpc":"2.0","method":"notifications/${area}/list_changed"}`);
    }
  }

  async #look(): Promise<void> {
    if ((await this.#hopeful()) === undefined) return;
    if (this.#looking === undefined && !this.isOpen) return;
    if (this.isOpen) await this.enter(false);
    else this.#tellChanges();
  }

  /** The generation of a login that the server has not rejected yet. */
  async #hopeful(): Promise<number | undefined> {
    const generation = await this.#parts.login?.generation();
    return generation === this.#rejected ? undefined : generation;
  }

  #problem(error: unknown): Problem {
    const { resource, login } = this.#parts;
    const command = loginCommand(resource, login?.account ?? 'default');
    const cause = error ?? login?.coordinator.failure;
    const known = cause instanceof HoldfastError ? cause : undefined;
    const why = known?.message ?? `There is no login to ${resource}.`;
    if (known !== undefined && isUnusable(known)) {
      // The error's own hint says how to unlock or fix it. A new login would only add a second one beside it.
      const text = known.hint === undefined ? why : `${why}\n${known.hint}`;
      return { text, resource, command, unusable: known.code };
    }
    const hint = known?.hint?.includes('holdfast') === true ? known.hint : `Log in with: ${command}`;
    return { text: `${why}\n${hint}`, resource, command };
  }
}

function doesNotBegin(resource: string, answer: Message | undefined): NetworkError {
  return new NetworkError(
    `${resource} refuses what this client began with: ${quote(JSON.stringify(answer?.error ?? null))}`,
    { hint: 'There is a login now: start the client again.' },
  );
}
