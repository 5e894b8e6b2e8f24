import { type Incoming, isObject, isRequest, META, type Message } from './message.ts';

/*
 * The headers that repeat what the body of a request says, so that those between can route it: MCP revision 2026-07-28,
 * Streamable HTTP, "Standard Request Headers" and "Custom Headers from Tool Parameters". The server compares the two.
 */

/** Which parameter `Mcp-Name` repeats. */
const NAMED_BY: Readonly<Record<string, string>> = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
  'tasks/get': 'taskId',
  'tasks/update': 'taskId',
  'tasks/cancel': 'taskId',
};

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** A parameter of a tool that goes into a header too: where it lies in the arguments, and the header's name. */
interface Declared {
  readonly path: readonly string[];
  readonly header: string;
}

/** How deep a tool's schema is looked into. */
const DEEPEST = 16;

/** What the tools of one server want in headers, learnt from its `tools/list`. */
export class RequestHeaders {
  readonly #tools = new Map<string, readonly Declared[]>();

  /** Reads the tools of an answer to `tools/list`. */
  learn({ text, messages }: Incoming): void {
    const [answer] = messages;
    const tools = answer !== undefined && isObject(answer.result) ? answer.result['tools'] : undefined;
    if (!Array.isArray(tools)) return;
    // The answers of servers without such headers, nearly all, are not looked through.
    const declares = text.includes('x-mcp-header');
    for (const tool of tools as unknown[]) {
      if (!isObject(tool) || typeof tool['name'] !== 'string') continue;
      const declared = declares ? [...declaredIn(tool['inputSchema'], [])] : [];
      if (declared.length > 0) this.#tools.set(tool['name'], declared);
      else this.#tools.delete(tool['name']);
    }
  }

  /** The headers of one message of that revision. */
  of(message: Message, version: string): Record<string, string> {
    const headers: Record<string, string> = { 'mcp-protocol-version': version };
    if (!isRequest(message)) return headers;
    headers['mcp-method'] = message.method;
    const by = Object.hasOwn(NAMED_BY, message.method) ? NAMED_BY[message.method] : undefined;
    const name = by === undefined ? undefined : message.params[by];
    if (typeof name !== 'string') return headers;
    headers['mcp-name'] = fieldValue(name);
    if (message.method !== 'tools/call') return headers;
    for (const { path, header } of this.#tools.get(name) ?? []) {
      const value = textOf(valueAt(message.params['arguments'], path));
      if (value !== undefined) headers[`mcp-param-${header.toLowerCase()}`] = fieldValue(value);
    }
    return headers;
  }
}

/** What the client declares: in each message from 2026-07-28 on, before that in `initialize`. */
export function capabilitiesOf({ method, params }: Message): Readonly<Record<string, unknown>> | undefined {
  const meta = params['_meta'];
  const declared =
    method === 'initialize'
      ? params['capabilities']
      : isObject(meta)
        ? meta[META.clientCapabilities]
        : undefined;
  return isObject(declared) ? declared : undefined;
}

function* declaredIn(schema: unknown, path: readonly string[]): Generator<Declared> {
  if (!isObject(schema) || path.length > DEEPEST) return;
  const header = schema['x-mcp-header'];
  if (path.length > 0 && typeof header === 'string' && TOKEN.test(header)) yield { path, header };
  const properties = schema['properties'];
  if (!isObject(properties)) return;
  for (const [name, property] of Object.entries(properties)) yield* declaredIn(property, [...path, name]);
}

function valueAt(root: unknown, path: readonly string[]): unknown {
  let at = root;
  for (const name of path) at = isObject(at) && Object.hasOwn(at, name) ? at[name] : undefined;
  return at;
}

function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  if (typeof value !== 'number' || !Number.isFinite(value)) return undefined;
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? undefined : String(value);
}

/** As a header can carry it: what is not plain ASCII, or would be trimmed, in Base64 between marks. */
function fieldValue(text: string): string {
  const plain = /^[\t\x20-\x7e]+$/.test(text) && text === text.trim();
  if (plain && !(text.startsWith('=?base64?') && text.endsWith('?='))) return text;
  return `=?base64?${Buffer.from(text, 'utf8').toString('base64')}?=`;
}
