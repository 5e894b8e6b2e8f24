/*
 * JSON-RPC 2.0 as MCP uses it, read just far enough to know where a message belongs. What is passed on is the text that came
 * in, on one line: numbers, key order and unknown members reach the other side as they were written.
 */

export type Id = string | number;

/** One message, or a batch of them (revision 2025-03-26), and the text that it came as. */
export interface Incoming {
  /** On one line, without its end. */
  readonly text: string;
  readonly messages: readonly Message[];
  readonly isBatch: boolean;
}

/** `id` with `method` is a request, `method` alone a notification, `id` alone a response. */
export interface Message {
  readonly id: Id | undefined;
  readonly method: string | undefined;
  readonly params: Readonly<Record<string, unknown>>;
  readonly result: unknown;
  readonly error: unknown;
}

/** The codes of JSON-RPC 2.0 section 5.1, and one of those that it leaves to the implementation. */
export const CODE = {
  parseError: -32_700,
  invalidRequest: -32_600,
  unreachable: -32_000,
};

/** Where in `_meta` a request says of which revision it is, and what its client can do: from 2026-07-28 on. */
const VERSION_KEY = 'io.modelcontextprotocol/protocolVersion';
const CAPABILITIES_KEY = 'io.modelcontextprotocol/clientCapabilities';

/** @returns `undefined` for what is no JSON, or no message */
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

/** The revision that a message says it is of: only those from 2026-07-28 on say so, each for itself. */
export function claimedVersion({ params }: Message): string | undefined {
  const meta = params['_meta'];
  const version = isObject(meta) ? meta[VERSION_KEY] : undefined;
  return typeof version === 'string' ? version : undefined;
}

/** What the client declares that it can do: in `initialize`, and from revision 2026-07-28 on in each request. */
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
