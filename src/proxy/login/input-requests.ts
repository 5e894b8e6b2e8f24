import { randomUUID } from 'node:crypto';
import { displayUrl } from '../../display-url.ts';
import type { Request } from '../relay/in-flight.ts';
import { type Incoming, isObject, readMessage, resultText } from '../relay/message.ts';
import { type AskingClient, type Elicited, LoginAsked } from './login-coordinator.ts';

/*
 * How a client of revision 2026-07-28 is asked to show a URL: the server sends it no requests, but answers its request with
 * what is to be asked, and the client makes the request again with the answer ("Multi Round-Trip Requests").
 */

const KEY = 'holdfast_login';

/** What may be answered so. */
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

  /** Whether a request of that method can be answered with a question. */
  canAnswer(method: string): boolean {
    return METHODS.includes(method);
  }

  complete(): void {
    this.#open = undefined;
  }

  /** The answer to a request that has to wait for the person. */
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
   * Takes what the person said out of a request that was made again. What goes on to the server is the request as it was at
   * first, written anew.
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
