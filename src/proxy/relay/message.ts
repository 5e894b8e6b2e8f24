/*
 * JSON-RPC 2.0 as MCP uses it, parsed only far enough to route a message. The original text is forwarded, on one line.
 * Numbers, key order and unknown members reach the other side unchanged.
 */

export type Id = string | number;

/** One message, or a batch (revision 2025-03-26), with its original text. */
export interface Incoming {
  /** On one line, without the line break. */
  readonly text: string;
  readonly messages: readonly Message[];
  readonly isBatch: boolean;
}

/** A request has `id` and `method`, a notification only `method`, a response only `id`. */
export interface Message {
  readonly id: Id | undefined;
  readonly method: string | undefined;
  readonly params: Readonly<Record<string, unknown>>;
  readonly result: unknown;
  readonly error: unknown;
}

/** The error codes of JSON-RPC 2.0 section 5.1, and one from the range for implementations. */
export const CODE = {
  parseError: -32_700,
  invalidRequest: -32_600,
  unreachable: -32_000,
};

/** The keys in `_meta` for a request's revision and its client's capabilities, from 2026-07-28 on. */
const VERSION_KEY = 'io.modelcontextprotocol/protocolVersion';
const CAPABILITIES_KEY = 'io.modelcontextprotocol/clientCapabilities';

/** @returns `undefined` if the text is not JSON or not a message */
export function readMessage(text: string): Incoming | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  const isBatch = Array.isArray(parsed);
  const messages: Message[] = [];
  for (const one of isBatch ? (parsed as unknown[]) : [parsed]) {
    const message = messageOf(one);
    if (message === undefined) return undefined;
    messages.push(message);
  }
  // A line break in JSON text is white space: within a string it is written \n.
  return messages.length === 0 ? undefined : { text: onOneLine(text), messages, isBatch };
}

function onOneLine(text: string): string {
  return text.includes('\n') || text.includes('\r') ? text.replace(/[\r\n]+/g, ' ').trim() : text;
}

function messageOf(value: unknown): Message | undefined {
  if (!isObject(value)) return undefined;
  const { id, method, params, result, error } = value;
  if (id !== undefined && id !== null && typeof id !== 'string' && typeof id !== 'number') return undefined;
  if (method !== undefined && typeof method !== 'string') return undefined;
  if (method === undefined && result === undefined && error === undefined) return undefined;
  return { id: id ?? undefined, method, params: isObject(params) ? params : {}, result, error };
}

export function isRequest(message: Message): message is Message & { id: Id; method: string } {
  return message.method !== undefined && message.id !== undefined;
}

export function isNotification(message: Message): message is Message & { method: string } {
  return message.method !== undefined && message.id === undefined;
}

/** The revision that the message names. Only messages from 2026-07-28 on name one, each for itself. */
export function claimedVersion({ params }: Message): string | undefined {
  const meta = params['_meta'];
  const version = isObject(meta) ? meta[VERSION_KEY] : undefined;
  return typeof version === 'string' ? version : undefined;
}

/** The capabilities that the client declares: in `initialize`, and from revision 2026-07-28 on in each request. */
export function capabilitiesOf({ method, params }: Message): Readonly<Record<string, unknown>> | undefined {
  const meta = params['_meta'];
  const own = isObject(meta) ? meta[CAPABILITIES_KEY] : undefined;
  const declared = method === 'initialize' ? params['capabilities'] : own;
  return isObject(declared) ? declared : undefined;
}

export function resultText(id: Id, result: object): string {
  return JSON.stringify({ jsonrpc: '2.0', id, result });
}

export function errorText(id: Id | null, error: object): string {
  return JSON.stringify({ jsonrpc: '2.0', id, error });
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
