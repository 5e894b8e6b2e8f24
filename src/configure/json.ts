import {
  applyEdits,
  createScanner,
  format,
  modify,
  type Node,
  type ParseError,
  parseTree,
  visit,
} from 'jsonc-parser';
import {
  checkDepth,
  checkKey,
  type HostileKeys,
  HostileValuesError,
  type PlainObject,
  parsePlainJson,
  plainObject,
  sameValues,
} from '../values/plain-values.ts';
import {
  type ConfigFormat,
  ConfigSyntaxError,
  type Entry,
  endOfLine,
  type Slot,
  splice,
  UnsupportedLayoutError,
} from './config-format.ts';

/*
 * JSON as the clients store it, with comments and trailing commas if their authors or users add them. The library adds
 * and changes values. Removing is done here, because the library would also remove the comments around the property.
 */

export const JSON_FORMAT: ConfigFormat = { name: 'JSON', parse, add, remove, change, snippet };

/** SyntaxKind: a constant enum, which does not exist at run time. */
const COMMA = 5;
const LINE_COMMENT = 12;
const BLOCK_COMMENT = 13;
const END = 17;

function parse(text: string): unknown {
  if (isBlank(text)) return plainObject();
  rootOf(text);
  return parseJsonc(text);
}

function add(text: string, { holder, key }: Slot, entry: Entry): string {
  if (isBlank(text)) return snippet({ holder, key }, entry);
  let at = rootOf(text);
  for (const [depth, name] of holder.entries()) {
    const next = propertyOf(at, name)?.children?.[1];
    if (next === undefined) return set(text, at, name, nested(holder.slice(depth + 1), key, entry));
    at = objectOf(next, holder.slice(0, depth + 1));
  }
  return set(text, at, String(key), entry);
}

function snippet({ holder, key }: Slot, entry: Entry): string {
  return `${JSON.stringify(nested(holder, key, entry), null, 2)}\n`;
}

function remove(text: string, { holder, key }: Slot): string {
  const within = find(rootOf(text), holder);
  const property = propertyOf(within, String(key));
  if (property === undefined) return text;
  const holding = within.parent;
  const parent = holding?.parent;
  if (holding !== undefined && parent !== undefined && within.children?.length === 1) {
    // Clients start a new file with an empty object. Beside other keys, an empty object is a leftover.
    const isLeftover = parent.children?.length !== 1 && !hasCommentBeside(text, holding, property);
    if (isLeftover) return withoutProperty(text, parent, holding);
  }
  return withoutProperty(text, within, property);
}

function change(text: string, { holder, key }: Slot, keys: Readonly<Record<string, unknown>>): string {
  let changed = text;
  for (const [name, value] of Object.entries(keys)) {
    const entry = find(rootOf(changed), [...holder, String(key)]);
    const property = propertyOf(entry, name);
    const old = property?.children?.[1];
    if (value === undefined) {
      if (property !== undefined) changed = withoutProperty(changed, entry, property);
    } else if (old === undefined || !sameValues(parseJsonc(textOf(changed, old)), value)) {
      changed = set(changed, entry, name, value);
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

/** Adds the property, or changes its value. */
function set(text: string, object: Node, name: string, value: unknown): string {
  const { offset, length, children = [] } = object;
  const last = children.at(-1);
  // At the end, the library would put the property between the last one and its comment, so it goes first.
  const isCommented = last !== undefined && hasComment(text, last.offset + last.length, offset + length);
  // The library gets only this object's text, because it takes the first of two equal keys.
  const [edit] = modify(textOf(text, object), [name], value, {
    getInsertionIndex: (names) => (isCommented ? 0 : names.length),
  });
  if (edit === undefined) return text;
  const at = offset + edit.offset;
  const changed = splice(text, { from: at, to: at + edit.length, by: edit.content });
  const like = propertyOf(object, name)?.children?.[1] ?? (last === undefined ? undefined : object);
  const around = like === undefined ? text.trim() : textOf(text, like);
  // Only the new text is formatted. Other lines keep their layout, and the library takes minutes for a long line.
  const isBeforeBrace = changed[at + edit.content.length] === '}';
  const range = {
    offset: at - 1,
    length: edit.content.length + (last === undefined && isBeforeBrace ? 2 : 1),
  };
  const options = { ...indentation(text), keepLines: !around.includes('\n') };
  return applyEdits(changed, format(changed, range, options));
}

/** Removes the property and its comma, but no comment around it. */
function withoutProperty(text: string, object: Node, property: Node): string {
  const { children = [] } = object;
  const index = children.indexOf(property);
  const [previous, next] = [children[index - 1], children[index + 1]];
  const close = object.offset + object.length - 1;
  const end = property.offset + property.length;
  if (children.length === 1 && !hasCommentBeside(text, object, property)) {
    return splice(text, { from: object.offset + 1, to: close, by: '' });
  }
  const behind = commaIn(text, end, next?.offset ?? close);
  // Without a comma of its own, it is the last property.
  const comma = behind ?? (previous && commaIn(text, previous.offset + previous.length, property.offset));
  const to = behind !== undefined && isBlank(text.slice(end, behind)) ? behind + 1 : end;
  const before = text.slice(0, property.offset).trimEnd().length;
  const isLineShared = !isBlank(text.slice(to, endOfLine(text, to)));
  // If more follows on the line, the line must not join the one before, which may end with a comment.
  const from = isLineShared && text.slice(before, property.offset).includes('\n') ? property.offset : before;
  const isCut = comma === undefined || (comma >= from && comma < to);
  return splice(text, { from, to, by: '' }, ...(isCut ? [] : [{ from: comma, to: comma + 1, by: '' }]));
}

function textOf(text: string, { offset, length }: Node): string {
  return text.slice(offset, offset + length);
}

/** Whether there is a comment in the node outside the part of it. */
function hasCommentBeside(text: string, node: Node, part: Node): boolean {
  return (
    hasComment(text, node.offset, part.offset) ||
    hasComment(text, part.offset + part.length, node.offset + node.length)
  );
}

function hasComment(text: string, from: number, to: number): boolean {
  return tokenIn(text, from, to, LINE_COMMENT, BLOCK_COMMENT) !== undefined;
}

function commaIn(text: string, from: number, to: number): number | undefined {
  return tokenIn(text, from, to, COMMA);
}

/** The offset of the first token of these kinds. */
function tokenIn(text: string, from: number, to: number, ...kinds: readonly number[]): number | undefined {
  const scanner = createScanner(text.slice(from, to));
  for (let token: number = scanner.scan(); token !== END; token = scanner.scan()) {
    if (kinds.includes(token)) return from + scanner.getTokenOffset();
  }
  return undefined;
}

/** As in the file's first indented line. */
function indentation(text: string): { readonly insertSpaces: boolean; readonly tabSize: number } {
  const unit = /^[ \t]+(?=["/])/m.exec(text)?.[0] ?? '  ';
  return unit.startsWith('\t')
    ? { insertSpaces: false, tabSize: 4 }
    : { insertSpaces: true, tabSize: unit.length };
}
