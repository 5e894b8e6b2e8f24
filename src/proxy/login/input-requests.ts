import { randomUUID } from 'node:crypto';
import { displayUrl } from '../../display-url.ts';
import type { Request } from '../relay/in-flight.ts';
import { type Incoming, isObject, readMessage, resultText } from '../relay/message.ts';
import { type AskingClient, type Elicited, LoginAsked } from './login-coordinator.ts';

/*
 * Shows a URL to a client of revision 2026-07-28. In that revision the server sends no requests. It answers the
 * client's request with a question, and the client repeats the request with the answer ("Multi Round-Trip Requests").
 */

const KEY = 'holdfast_login';

/** The methods that a question may answer. */
const METHODS = ['tools/call', 'prompts/get', 'resources/read'];

export class InputRequests implements AskingClient {
  readonly #resource: string;
  #open: { readonly asked: LoginAsked; readonly answer: (elicited: Elicited) => void } | undefined;

  constructor(resource: string) {
    this.#resource = resource;
  }

  ask(url: string): Promise<Elicited> {
    return new Promise((answer) => {
      this.#open = { asked: new LoginAsked(url, randomUUID()), answer };
    });
  }

  get question(): LoginAsked | undefined {
    return this.#open?.asked;
  }

  /** Tells whether a question can answer a request of this method. */
  canAnswer(method: string): boolean {
    return METHODS.includes(method);
  }

  complete(): void {
    this.#open = undefined;
  }

  /** The answer to a request that must wait for the user to log in. */
  answer({ id }: Request, { url, elicitationId }: LoginAsked): string {
    const message = `Log in to ${displayUrl(this.#resource)} to go on.`;
    const params = { mode: 'url', message, url, elicitationId };
    return resultText(id, {
      resultType: 'input_required',
      inputRequests: { [KEY]: { method: 'elicitation/create', params } },
      requestState: `${KEY}:${elicitationId}`,
    });
  }

  /**
   * Removes the user's answer from a repeated request. The server gets the request as it first was, serialized again.
   */
  take(incoming: Incoming): Incoming {
    const [message] = incoming.messages;
    const { requestState, inputResponses } = message?.params ?? {};
    if (incoming.isBatch || typeof requestState !== 'string' || !requestState.startsWith(`${KEY}:`))
      return incoming;
    const said = isObject(inputResponses) ? inputResponses[KEY] : undefined;
    const action = isObject(said) ? said['action'] : undefined;
    if (requestState === `${KEY}:${this.#open?.asked.elicitationId}`) {
      this.#open?.answer(action === 'accept' || action === 'decline' ? action : 'cancel');
      this.#open = undefined;
    }
    const { params, ...rest } = JSON.parse(incoming.text) as { params: Record<string, unknown> };
    const { requestState: _state, inputResponses: _responses, ...first } = params;
    return readMessage(JSON.stringify({ ...rest, params: first })) ?? incoming;
  }
}
