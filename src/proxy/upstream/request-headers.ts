import { type Incoming, isObject, isRequest, type Message } from '../relay/message.ts';

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

const KEYWORD = 'x-mcp-header';

/** What may go into a header. A `number` may not: its text is not one and the same everywhere. */
const TYPES = ['string', 'integer', 'boolean'];

/** Keywords of JSON Schema whose value is no schema, and those whose value has schemas by name. */
const DATA = ['default', 'const', 'enum', 'examples', KEYWORD];
const BY_NAME = ['properties', 'patternProperties', 'dependentSchemas', '$defs', 'definitions'];

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** A parameter of a tool that goes into a header too: where it lies in the arguments, and the header's name. */
interface Declared {
  readonly path: readonly string[];
  readonly header: string;
}

/** How deep a tool's schema is looked into. What lies deeper is as good as not declared. */
const DEEPEST = 64;

/** The headers that the tools of one server want, learnt from its `tools/list`. */
export class RequestHeaders {
  readonly #tools = new Map<string, readonly Declared[]>();

  /**
   * Reads the tools of an answer to `tools/list`.
   *
   * @returns the names of those whose declaration of headers is none: such a tool is not to be used over HTTP
   */
  learn({ text, messages }: Incoming): string[] {
    const [answer] = messages;
    const tools = answer !== undefined && isObject(answer.result) ? answer.result['tools'] : undefined;
    if (!Array.isArray(tools)) return [];
    // The answers of servers without such headers, nearly all, are not looked through.
    const declares = text.includes(KEYWORD);
    const invalid: string[] = [];
    for (const tool of tools as unknown[]) {
      if (!isObject(tool) || typeof tool['name'] !== 'string') continue;
      const declared = declares ? declaredIn(tool['inputSchema']) : [];
      if (declared === undefined) invalid.push(tool['name']);
      if (declared === undefined || declared.length === 0) this.#tools.delete(tool['name']);
      else this.#tools.set(tool['name'], declared);
    }
    return invalid;
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

/** All that a schema declares; `undefined` where one of the declarations breaks a rule ("Schema Extension"). */
function declaredIn(root: unknown): Declared[] | undefined {
  const found: Declared[] = [];
  let isValid = true;
  const visit = (schema: unknown, path: readonly string[], isReachable: boolean, depth: number): void => {
    if (depth > DEEPEST) return;
    if (Array.isArray(schema)) for (const one of schema) visit(one, path, false, depth + 1);
    if (!isObject(schema)) return;
    if (Object.hasOwn(schema, KEYWORD)) {
      const header = schema[KEYWORD];
      const isGood =
        typeof header === 'string' && TOKEN.test(header) && TYPES.includes(String(schema['type']));
      if (isGood && isReachable && path.length > 0) found.push({ path, header });
      else isValid = false;
    }
    for (const [keyword, value] of Object.entries(schema)) {
      if (DATA.includes(keyword)) continue;
      if (!BY_NAME.includes(keyword) || !isObject(value)) {
        visit(value, path, false, depth + 1);
        continue;
      }
      const isStep = keyword === 'properties';
      for (const [name, child] of Object.entries(value)) {
        visit(child, isStep ? [...path, name] : path, isReachable && isStep, depth + 1);
      }
    }
  };
  visit(root, [], true, 0);
  const names = new Set(found.map(({ header }) => header.toLowerCase()));
  return isValid && names.size === found.length ? found : undefined;
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
