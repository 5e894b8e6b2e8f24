import { createScanner, type Node, type ParseError, parseTree, visit } from 'jsonc-parser';
import {
  checkDepth,
  checkKey,
  type HostileKeys,
  HostileValuesError,
  type PlainObject,
  parsePlainJson,
  plainObject,
} from '../plain-values.ts';
import {
  type ConfigFormat,
  ConfigSyntaxError,
  type Entry,
  indentAt,
  inverse,
  lineEnd,
  type Slot,
  splice,
  UnsupportedLayoutError,
} from './config-format.ts';

/*
 * JSON as the clients store it, with comments and trailing commas if their authors or users add them. The library's
 * tree gives the offset of each node. The library's own edits would reformat the surroundings and delete comments.
 */

export const JSON_FORMAT: ConfigFormat = { name: 'JSON', parse, add, remove, change, snippet };

/** SyntaxKind.CommaToken: a constant enum, which does not exist at run time. */
const COMMA = 5;
const END = 17;

function parse(text: string): unknown {
  return isBlank(text) ? plainObject() : valueIn(rootOf(text));
}

function add(text: string, { holder, key }: Slot, entry: Entry): string {
  if (isBlank(text)) return snippet({ holder, key }, entry);
  const root = rootOf(text);
  let at = root;
  for (const [depth, name] of holder.entries()) {
    const next = propertyOf(at, name)?.children?.[1];
    if (next === undefined) return insert(text, root, at, name, nested(holder.slice(depth + 1), key, entry));
    at = objectOf(next, holder.slice(0, depth + 1));
  }
  return insert(text, root, at, String(key), entry);
}

function snippet({ holder, key }: Slot, entry: Entry): string {
  return `${JSON.stringify(nested(holder, key, entry), null, 2)}\n`;
}

function remove(text: string, slot: Slot): string {
  const { holder, key } = slot;
  const root = rootOf(text);
  const within = find(root, holder);
  const property = propertyOf(within, String(key));
  if (property === undefined) return text;
  const entry = valueIn(property.children?.[1] as Node) as Entry;
  const without = withoutProperty(text, within, property);
  const candidates = [...without];
  if (within !== root && within.children?.length === 1 && within.parent !== undefined) {
    const parent = within.parent.parent as Node;
    const bare = withoutProperty(text, parent, within.parent);
    // Clients start a new file with an empty object. Beside other keys, an empty object is a leftover.
    if (parent.children?.length === 1) candidates.push(...bare);
    else candidates.unshift(...bare);
  }
  return inverse(text, [...candidates, without[0] ?? text], (candidate) => add(candidate, slot, entry));
}

function change(text: string, { holder, key }: Slot, keys: Readonly<Record<string, unknown>>): string {
  let changed = text;
  for (const [name, value] of Object.entries(keys)) {
    const root = rootOf(changed);
    const entry = find(root, [...holder, String(key)]);
    const property = propertyOf(entry, name);
    const old = property?.children?.[1];
    if (value === undefined) {
      if (property !== undefined) changed = withoutProperty(changed, entry, property)[0] ?? changed;
    } else if (property === undefined || old === undefined) {
      changed = insert(changed, root, entry, name, value);
    } else if (JSON.stringify(valueIn(old)) !== JSON.stringify(value)) {
      const isFlat = !changed.slice(old.offset, old.offset + old.length).includes('\n');
      const by = isFlat
        ? flat(value, changed.slice(old.offset, old.offset + old.length))
        : multiline(changed, root, value, indentAt(changed, property.offset) ?? '');
      changed = splice(changed, { from: old.offset, to: old.offset + old.length, by });
    }
  }
  return changed;
}

function isBlank(text: string): boolean {
  return text.trim() === '';
}

function rootOf(text: string): Node {
  const errors: ParseError[] = [];
  const root = treeOf(text, errors);
  const [first] = errors;
  if (first !== undefined || root === undefined) {
    const before = text.slice(0, first?.offset ?? 0).split('\n');
    throw new ConfigSyntaxError(before.length, (before.at(-1) ?? '').length + 1);
  }
  return objectOf(root, []);
}

/** @throws HostileValuesError */
function treeOf(text: string, errors: ParseError[]): Node | undefined {
  try {
    return parseTree(text, errors, { allowTrailingComma: true });
  } catch (error) {
    // The parser is recursive.
    if (error instanceof RangeError) throw new HostileValuesError('its values are nested too deeply');
    throw error;
  }
}

/**
 * The values in a JSON text with comments and trailing commas.
 *
 * @throws SyntaxError if it is not such a text
 * @throws HostileValuesError
 */
export function parseJsonc(text: string, keys: HostileKeys = 'refused'): unknown {
  try {
    // The text is usually plain JSON, and the engine's own parser takes a tenth of the time.
    return parsePlainJson(text, keys);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  const open: (PlainObject | unknown[])[] = [];
  let name = '';
  let root: unknown;
  let isWrong = text.trim() === '';
  const put = (value: unknown) => {
    const holder = open.at(-1);
    if (holder === undefined) root = value;
    else if (Array.isArray(holder)) holder.push(value);
    else holder[name] = value;
  };
  const begin = (value: PlainObject | unknown[]) => {
    put(value);
    open.push(value);
    checkDepth(open.length);
  };
  const end = () => void open.pop();
  visit(
    text,
    {
      onObjectBegin: () => begin(plainObject()),
      onObjectProperty: (key) => {
        if (keys === 'refused') checkKey(key);
        name = key;
      },
      onObjectEnd: end,
      onArrayBegin: () => begin([]),
      onArrayEnd: end,
      onLiteralValue: put,
      onError: () => {
        isWrong = true;
      },
    },
    { allowTrailingComma: true },
  );
  if (isWrong) throw new SyntaxError('not JSON');
  return root;
}

function valueIn(node: Node, depth = 0): unknown {
  checkDepth(depth);
  if (node.type === 'array') return node.children?.map((one) => valueIn(one, depth + 1)) ?? [];
  if (node.type !== 'object') return node.value;
  const object = plainObject();
  for (const { children: [key, value] = [] } of node.children ?? []) {
    const name = String(key?.value);
    checkKey(name);
    if (value !== undefined) object[name] = valueIn(value, depth + 1);
  }
  return object;
}

function objectOf(node: Node, keys: readonly string[]): Node {
  if (node.type === 'object') return node;
  throw new UnsupportedLayoutError(
    keys.length === 0 ? 'it holds no object' : `"${keys.join('.')}" is no object`,
  );
}

function find(root: Node, keys: readonly string[]): Node {
  let at = root;
  for (const [depth, name] of keys.entries()) {
    const next = propertyOf(at, name)?.children?.[1];
    if (next === undefined) throw new UnsupportedLayoutError(`"${name}" is not there`);
    at = objectOf(next, keys.slice(0, depth + 1));
  }
  return at;
}

/** The last of two equal keys counts, as for JSON.parse. */
function propertyOf(object: Node, name: string): Node | undefined {
  return object.children?.findLast((property) => property.children?.[0]?.value === name);
}

function nested(holder: readonly string[], key: string | number, entry: Entry): Entry {
  return [...holder, key].reduceRight<Entry>((value, name) => ({ [name]: value }), entry);
}

function insert(text: string, root: Node, object: Node, name: string, value: unknown): string {
  const open = object.offset + 1;
  const close = object.offset + object.length - 1;
  const last = object.children?.at(-1);
  const end = last === undefined ? open : last.offset + last.length;
  const tail = text.slice(end, close);
  // Inserts after the last property's comma and comments.
  const at = end + tail.trimEnd().length;
  const inside = text.slice(open, close);
  const isFlat = last === undefined ? !text.trim().includes('\n') : !inside.includes('\n');
  const hasComma = last === undefined || commaIn(tail) !== undefined;
  const edits = hasComma ? [] : [{ from: end, to: end, by: ',' }];
  const trailing = last !== undefined && hasComma ? ',' : '';
  if (isFlat) {
    const pad =
      last === undefined ? '' : /^[^\S\n]*/.exec(inside)?.[0] || (/,\s|:\s/.test(inside) ? ' ' : '');
    const by = `${pad}${JSON.stringify(name)}:${spaced(text) ? ' ' : ''}${flat(value, text)}${trailing}`;
    return splice(text, ...edits, { from: at, to: at, by });
  }
  const outer = /^[ \t]*/.exec(lineOf(text, object.offset))?.[0] ?? '';
  const indent = (last === undefined ? undefined : indentAt(text, last.offset)) ?? outer + unitOf(text, root);
  const eol = lineEnd(text);
  const line = `${eol}${indent}${JSON.stringify(name)}: ${multiline(text, root, value, indent)}${trailing}`;
  const isClosed = text.slice(at, close).includes('\n');
  return splice(text, ...edits, {
    from: at,
    to: isClosed ? at : close,
    by: isClosed ? line : `${line}${eol}${outer}`,
  });
}

/** The text without that property, in each form that it may have had before the property was added; plainest first. */
function withoutProperty(text: string, object: Node, property: Node): string[] {
  const properties = object.children ?? [];
  const index = properties.indexOf(property);
  const previous = properties[index - 1];
  const next = properties[index + 1];
  const open = object.offset + 1;
  const close = object.offset + object.length - 1;
  const before = text.slice(0, property.offset).trimEnd().length;
  const end = property.offset + property.length;
  const comma = commaIn(text.slice(end, next?.offset ?? close));
  const to = comma === undefined ? end : end + comma + 1;
  const from = next !== undefined && before === open && to < next.offset ? property.offset : before;
  if (next !== undefined && from === property.offset) {
    return [splice(text, { from, to: to + (/^\s*/.exec(text.slice(to))?.[0].length ?? 0), by: '' })];
  }
  if (previous === undefined && next === undefined) {
    const plain = splice(text, { from: before, to, by: '' });
    if (text.slice(open, property.offset).trim() !== '' || text.slice(to, close).trim() !== '') {
      // If a comment is inside, its line may have ended before or not.
      return [
        plain,
        splice(text, { from: before, to: close, by: ' ' }),
        splice(text, { from: before, to: close, by: '' }),
      ];
    }
    const bare = (by: string) => splice(text, { from: open, to: close, by });
    return [bare(''), plain, bare(' ')];
  }
  const edits = [{ from: before, to, by: '' }];
  if (next === undefined && comma === undefined && previous !== undefined) {
    const after = previous.offset + previous.length;
    const separator = commaIn(text.slice(after, property.offset));
    if (separator !== undefined) {
      const offset = after + separator;
      // The comma may directly precede the property.
      return [
        offset + 1 === before
          ? splice(text, { from: offset, to, by: '' })
          : splice(text, ...edits, { from: offset, to: offset + 1, by: '' }),
      ];
    }
  }
  return [splice(text, ...edits)];
}

/** The offset of the first comma outside comments. */
function commaIn(text: string): number | undefined {
  const scanner = createScanner(text, true);
  for (let token = scanner.scan() as number; token !== END; token = scanner.scan() as number) {
    if (token === COMMA) return scanner.getTokenOffset();
  }
  return undefined;
}

/** The indentation unit of the file's own lines. */
function unitOf(text: string, root: Node): string {
  const [first] = root.children ?? [];
  return (first === undefined ? undefined : indentAt(text, first.offset)) || '  ';
}

function multiline(text: string, root: Node, value: unknown, indent: string): string {
  return JSON.stringify(value, null, unitOf(text, root)).replaceAll('\n', `${lineEnd(text)}${indent}`);
}

function spaced(text: string): boolean {
  return /":\s/.test(text);
}

/** The value on one line, with spaces if the text uses them. */
function flat(value: unknown, like: string): string {
  if (!/[":\]},]\s/.test(like.trim())) return JSON.stringify(value);
  const write = (one: unknown): string => {
    if (Array.isArray(one)) return `[${one.map(write).join(', ')}]`;
    if (typeof one !== 'object' || one === null) return JSON.stringify(one);
    const parts = Object.entries(one).map(([name, part]) => `${JSON.stringify(name)}: ${write(part)}`);
    return parts.length === 0 ? '{}' : `{ ${parts.join(', ')} }`;
  };
  return write(value);
}

function lineOf(text: string, offset: number): string {
  const start = text.lastIndexOf('\n', offset - 1) + 1;
  const end = text.indexOf('\n', start);
  return text.slice(start, end === -1 ? undefined : end);
}
