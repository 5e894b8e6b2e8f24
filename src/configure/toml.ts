import { type AST, ParseError, parseTOML } from 'toml-eslint-parser';
import {
  checkDepth,
  checkKey,
  checkLength,
  HostileValuesError,
  type PlainObject,
  plainObject,
} from '../values/plain-values.ts';
import {
  type ConfigFormat,
  ConfigSyntaxError,
  type Entry,
  endOfLine,
  inverse,
  lineEnd,
  type Slot,
  splice,
  UnsupportedLayoutError,
} from './config-format.ts';

/*
 * TOML. The parser gives the offset of each table, and the rest of the text stays unchanged. An entry is a table at the
 * end of the file, so no other table can become part of it by mistake. The values are written here: the parser's own
 * builder writes through `__proto__` into the prototype of every object.
 */

export const TOML_FORMAT: ConfigFormat = { name: 'TOML', parse, add, remove, change, snippet };

function parse(text: string): unknown {
  const root = plainObject();
  for (const item of read(text).body[0].body) {
    if (item.type === 'TOMLTable') {
      const table = tableAt(root, item.resolvedKey);
      for (const pair of item.body) put(table, pair, item.resolvedKey.length);
    } else put(root, item, 0);
  }
  return root;
}

/** The object at the path, created if missing; a number is an index in an array of tables. */
function tableAt(root: PlainObject, path: readonly (string | number)[]): PlainObject {
  let at: PlainObject | unknown[] = root;
  checkDepth(path.length);
  for (const [depth, key] of path.entries()) {
    if (typeof key === 'string') checkKey(key);
    const holder = at as PlainObject;
    holder[key] ??= typeof path[depth + 1] === 'number' ? [] : plainObject();
    at = holder[key] as PlainObject | unknown[];
  }
  return at as PlainObject;
}

function put(table: PlainObject, { key, value }: AST.TOMLKeyValue, depth: number): void {
  const names = key.keys.map(keyName);
  const last = names.pop() ?? '';
  checkKey(last);
  tableAt(table, names)[last] = valueIn(value, depth + names.length + 1);
}

function valueIn(node: AST.TOMLContentNode, depth: number): unknown {
  checkDepth(depth);
  switch (node.type) {
    case 'TOMLArray':
      return node.elements.map((element) => valueIn(element, depth + 1));
    case 'TOMLInlineTable': {
      const table = plainObject();
      for (const pair of node.body) put(table, pair, depth);
      return table;
    }
    default:
      return node.value;
  }
}

function add(text: string, { holder, key }: Slot, entry: Entry): string {
  const eol = lineEnd(text);
  const lines = [
    `[${[...holder, key].join('.')}]`,
    ...Object.entries(entry).map(([name, value]) => `${name} = ${valueOf(value)}`),
  ];
  const table = lines.join(eol);
  if (text === '') return `${table}${eol}`;
  // A file without a final line ending stays without one.
  return text.endsWith('\n') ? `${text}${eol}${table}${eol}` : `${text}${eol}${eol}${table}`;
}

function snippet(slot: Slot, entry: Entry): string {
  return add('', slot, entry);
}

function remove(text: string, slot: Slot): string {
  const tables = tablesOf(text, slot);
  const entry = tables[0] && entryOf(tables[0]);
  const cuts = tables.map((table) => {
    const end = endOfLine(text, table.range[1]);
    const to = end + (/^\r?\n/.exec(text.slice(end))?.[0].length ?? 0);
    return { from: table.range[0], to, by: '' };
  });
  const [first] = cuts;
  const without = splice(text, ...cuts);
  if (first === undefined || entry === undefined) return text;
  // `add` has written none, one or two of the line endings before the table.
  const head = text.slice(0, first.from);
  const rest = without.slice(head.length);
  const shorter = [/(\r?\n){2}$/, /\r?\n$/].map((end) => head.replace(end, '') + rest);
  const plain = rest.trim() === '' ? (shorter[1] ?? without) : without;
  return inverse(text, [without, ...shorter.toReversed(), plain], (candidate) => add(candidate, slot, entry));
}

function change(text: string, slot: Slot, keys: Readonly<Record<string, unknown>>): string {
  const [table] = tablesOf(text, slot);
  const edits = Object.entries(keys).flatMap(([name, value]) => {
    const pair = table?.body.find((one) => one.key.keys.map(keyName).join('\0') === name);
    if (pair === undefined) throw new UnsupportedLayoutError(`"${name}" is not in the table itself`);
    if (JSON.stringify(valueIn(pair.value, 0)) === JSON.stringify(value)) return [];
    return [{ from: pair.value.range[0], to: pair.value.range[1], by: valueOf(value) }];
  });
  return splice(text, ...edits);
}

function read(text: string): AST.TOMLProgram {
  checkLength(text);
  try {
    return parseTOML(text, { tomlVersion: 'latest' });
  } catch (error) {
    if (error instanceof ParseError) throw new ConfigSyntaxError(error.lineNumber, error.column + 1);
    // The parser is recursive, and passes each character of a text as an argument.
    if (error instanceof RangeError) {
      throw new HostileValuesError('it is nested too deeply, or holds a text that is too long');
    }
    throw error;
  }
}

/** The entry's table, then its subtables. */
function tablesOf(text: string, { holder, key }: Slot): AST.TOMLTable[] {
  const path = [...holder, key];
  const tables = read(text).body[0].body.filter(
    (one): one is AST.TOMLTable =>
      one.type === 'TOMLTable' && path.every((name, depth) => one.resolvedKey[depth] === name),
  );
  const own = tables.find(
    ({ resolvedKey, kind }) => resolvedKey.length === path.length && kind === 'standard',
  );
  if (own === undefined) throw new UnsupportedLayoutError(`"${path.join('.')}" has no [table] of its own`);
  return [own, ...tables.filter((one) => one !== own)].toSorted((a, b) => a.range[0] - b.range[0]);
}

function entryOf(table: AST.TOMLTable): Entry {
  return Object.fromEntries(
    table.body.map((pair) => [pair.key.keys.map(keyName).join('.'), valueIn(pair.value, 0)]),
  );
}

function keyName(key: AST.TOMLBare | AST.TOMLQuoted): string {
  return key.type === 'TOMLBare' ? key.name : key.value;
}

/** A basic string escapes the same characters as a JSON string, and DEL. */
function valueOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(valueOf).join(', ')}]`;
  return JSON.stringify(value).replaceAll('\u007f', '\\u007f');
}
