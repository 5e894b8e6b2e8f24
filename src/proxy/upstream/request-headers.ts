import { type Incoming, isObject, isRequest, type Message } from '../relay/message.ts';

/*
 * The headers that repeat parts of a request's body, so that intermediaries can route it: MCP revision 2026-07-28,
 * Streamable HTTP, "Standard Request Headers" and "Custom Headers from Tool Parameters". The server compares header and
 * body.
 */

/** The parameter that `Mcp-Name` repeats. */
const NAMED_BY: Readonly<Record<string, string>> = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
  'tasks/get': 'taskId',
  'tasks/update': 'taskId',
  'tasks/cancel': 'taskId',
};

const KEYWORD = 'x-mcp-header';

/** The types that a header may carry. A `number` may not: its text form differs between implementations. */
const TYPES = ['string', 'integer', 'boolean'];

/** Keywords of JSON Schema whose value is not a schema, and keywords whose value maps names to schemas. */
const DATA = ['default', 'const', 'enum', 'examples', KEYWORD];
const BY_NAME = ['properties', 'patternProperties', 'dependentSchemas', '$defs', 'definitions'];

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** A tool's parameter that a header repeats: its path in the arguments, and the header's name. */
interface Declared {
  readonly path: readonly string[];
  readonly header: string;
}

/** Maximum depth of the search in a tool's schema. Deeper declarations are ignored. */
const DEEPEST = 64;

/** The headers that the tools of one server want, learnt from its `tools/list`. */
export class RequestHeaders {
  readonly #tools = new Map<string, readonly Declared[]>();

  /**
   * Reads the tools from an answer to `tools/list`.
   *
   * @returns the names of the tools whose header declaration is invalid: they must not be used over HTTP
   */
  learn({ text, messages }: Incoming): string[] {
    const [answer] = messages;
    const tools = answer !== undefined && isObject(answer.result) ? answer.result['tools'] : undefined;
    if (!Array.isArray(tools)) return [];
    // Nearly all servers declare no such headers, so their answers are not searched.
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

/** All declarations in a schema; `undefined` if one of them breaks a rule ("Schema Extension"). */
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

/**
 * The text as a header can carry it. Text that is not plain ASCII, or would be trimmed, goes in Base64 between marks.
 */
function fieldValue(text: string): string {
  const plain = /^[\t\x20-\x7e]+$/.test(text) && text === text.trim();
  if (plain && !(text.startsWith('=?base64?') && text.endsWith('?='))) return text;
  return `=?base64?${Buffer.from(text, 'utf8').toString('base64')}?=`;
}
