import {
  Composer,
  type CST,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  Parser,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import { checkDepth, checkLength, HostileValuesError, plainCopy } from '../values/plain-values.ts';
import {
  type ConfigFormat,
  ConfigSyntaxError,
  type Entry,
  endOfLine,
  indentAt,
  inverse,
  lineEnd,
  type Slot,
  splice,
  UnsupportedLayoutError,
} from './config-format.ts';

/*
 * YAML, with entries in a list. The library's nodes give the offsets. The library's own output would change the
 * author's indentation and line breaks.
 */

export const YAML_FORMAT: ConfigFormat = { name: 'YAML', parse, add, remove, change, snippet };

function parse(text: string): unknown {
  return valueIn(documentOf(text));
}

function add(text: string, { holder }: Slot, entry: Entry): string {
  const document = documentOf(text);
  const name = holder.at(-1) ?? '';
  const owner = mapAt(document, holder.slice(0, -1));
  const eol = lineEnd(text);
  const pair = pairOf(owner, name);
  const list = pair?.value;
  if (pair === undefined || list === null || list === undefined || (isScalar(list) && list.value === null)) {
    const [first] = owner.items;
    const indent = first === undefined ? undefined : indentAt(text, startOf(first.key));
    if (indent === undefined || owner.flow === true) throw notBlock(holder.slice(0, -1));
    const at = pair === undefined ? endOf(text, owner) : endOfLine(text, startOf(pair.key));
    const key = pair === undefined ? `${eol}${indent}${name}:` : '';
    return splice(text, { from: at, to: at, by: `${key}${eol}${itemOf(entry, `${indent}  `, eol)}` });
  }
  if (!isSeq(list)) throw new UnsupportedLayoutError(`"${holder.join('.')}" is no plain list`);
  const last = list.items.at(-1) as Node | undefined;
  if (list.flow === true) {
    const at = last?.range?.[1] ?? startOf(list) + 1;
    return splice(text, { from: at, to: at, by: `${last === undefined ? '' : ', '}${flowOf(entry)}` });
  }
  if (last === undefined) throw notBlock(holder);
  const at = endOf(text, last);
  return splice(text, { from: at, to: at, by: `${eol}${itemOf(entry, dashOf(text, last).indent, eol)}` });
}

function snippet({ holder }: Slot, entry: Entry): string {
  const lines = holder.map((name, depth) => `${'  '.repeat(depth)}${name}:`);
  return [...lines, itemOf(entry, '  '.repeat(holder.length), '\n'), ''].join('\n');
}

function remove(text: string, slot: Slot): string {
  const { holder, key } = slot;
  const { list, item, pair } = itemAt(text, slot);
  const entry = valueIn(documentOf(text), item) as Entry;
  const again = (candidate: string) => add(candidate, { holder, key: 0 }, entry);
  if (list.flow === true) {
    const next = list.items[Number(key) + 1] as Node | undefined;
    const previous = list.items[Number(key) - 1] as Node | undefined;
    const from = previous?.range?.[1] ?? startOf(item);
    const to = previous === undefined && next !== undefined ? startOf(next) : (item.range?.[1] ?? from);
    return splice(text, { from, to, by: '' });
  }
  const { dash } = dashOf(text, item);
  const end = endOf(text, item);
  const cut = (offset: number) => text.slice(0, offset).trimEnd().length;
  // Removes only the line ending before the item: blank lines and comments above stay.
  const lineStart = text.lastIndexOf('\n', dash - 1);
  const from = text[lineStart - 1] === '\r' ? lineStart - 1 : lineStart;
  const withoutItem = splice(text, { from, to: end, by: '' });
  if (list.items.length > 1) return withoutItem;
  const withoutList = splice(text, { from: cut(startOf(pair.key)), to: end, by: '' });
  const colon = endOfLine(text, startOf(pair.key));
  const empty = splice(text, { from: colon, to: end, by: ' []' });
  return inverse(text, [withoutList, withoutItem, isComment(text, colon, dash) ? withoutItem : empty], again);
}

function change(text: string, slot: Slot, keys: Readonly<Record<string, unknown>>): string {
  const { item } = itemAt(text, slot);
  const edits = Object.entries(keys).flatMap(([name, value]) => {
    const node = pairOf(item, name)?.value as Node | null | undefined;
    if (!node?.range || isAlias(node))
      throw new UnsupportedLayoutError(`"${name}" is not in the entry itself`);
    if (JSON.stringify(valueIn(documentOf(text), node)) === JSON.stringify(value)) return [];
    const [from, end] = node.range;
    return [{ from, to: isSeq(node) && node.flow !== true ? endOf(text, node) : end, by: flowOf(value) }];
  });
  return splice(text, ...edits);
}

/** As `Map`s, so that no untrusted key becomes an object's key before it is checked. */
function valueIn(document: Document, node?: Node): unknown {
  const options = { mapAsMap: true };
  return sized(() => plainCopy(node === undefined ? document.toJS(options) : node.toJS(document, options)));
}

/** The library rejects aliases that would expand to more than a hundred copies each. */
function sized<T>(step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof ReferenceError) throw new HostileValuesError('its aliases expand without end');
    throw error;
  }
}

/**
 * Maximum number of items, more than any configuration has. The library compares each key of a map with all earlier
 * keys.
 */
const MAX_ITEMS = 10_000;

/**
 * Reads the one document of a file. Recursive functions compose its nodes. V8 ends the process if it must compile a
 * regular expression on a nearly full stack, so the levels are counted first.
 *
 * @throws ConfigSyntaxError, UnsupportedLayoutError, HostileValuesError
 */
export function documentOf(text: string): Document {
  checkLength(text);
  const lines = new LineCounter();
  const errorAt = (offset: number) => {
    const { line, col } = lines.linePos(Math.max(0, offset));
    return new ConfigSyntaxError(line, col);
  };
  const tokens: CST.Token[] = [];
  for (const token of new Parser(lines.addNewLine).parse(text)) {
    // A text that is not YAML gives an error for each of its characters.
    if (token.type === 'error') throw errorAt(token.offset);
    tokens.push(token);
  }
  checkSize(tokens);
  const documents = [...new Composer().compose(tokens)];
  const [document] = documents;
  if (document === undefined) throw new ConfigSyntaxError(1, 1);
  if (documents.length > 1) throw new UnsupportedLayoutError('it holds several documents');
  const [error] = document.errors;
  if (error !== undefined) throw errorAt(error.pos[0]);
  return document;
}

/** @throws HostileValuesError */
function checkSize(tokens: readonly CST.Token[]): void {
  const left = tokens.map((token) => ({ token, depth: 0 }));
  let items = 0;
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { token, depth } = next;
    checkDepth(depth);
    if (token.type === 'document' && token.value) left.push({ token: token.value, depth });
    if (!('items' in token)) continue;
    items += token.items.length;
    if (items > MAX_ITEMS) throw new HostileValuesError(`it has more than ${MAX_ITEMS} values`);
    for (const { key, value } of token.items) {
      if (key) left.push({ token: key, depth: depth + 1 });
      if (value) left.push({ token: value, depth: depth + 1 });
    }
  }
}

function mapAt(document: Document, keys: readonly string[]): YAMLMap {
  const node = keys.length === 0 ? document.contents : document.getIn(keys, true);
  if (isMap(node)) return node;
  throw new UnsupportedLayoutError(`"${keys.join('.')}" is not there, or is no plain map`);
}

function pairOf(map: YAMLMap, name: string): Pair | undefined {
  return map.items.find(({ key }) => isScalar(key) && key.value === name);
}

function itemAt(text: string, { holder, key }: Slot): { list: YAMLSeq; item: YAMLMap; pair: Pair } {
  const document = documentOf(text);
  const pair = pairOf(mapAt(document, holder.slice(0, -1)), holder.at(-1) ?? '');
  const list = pair?.value;
  const item = isSeq(list) ? list.items[Number(key)] : undefined;
  if (pair !== undefined && isSeq(list) && isMap(item)) return { list, item, pair };
  throw new UnsupportedLayoutError(`"${holder.join('.')}" is no plain list`);
}

function notBlock(keys: readonly string[]): UnsupportedLayoutError {
  return new UnsupportedLayoutError(`"${keys.join('.')}" is not written line by line`);
}

function startOf(node: unknown): number {
  const range = (node as Node | null)?.range;
  if (range) return range[0];
  throw new UnsupportedLayoutError('a value has no place of its own');
}

/** The offset of the end of a node's last line, including a comment on it. */
function endOf(text: string, node: Node): number {
  const end = text.slice(0, node.range?.[1] ?? 0).trimEnd().length;
  return endOfLine(text, end);
}

function dashOf(text: string, item: Node): { dash: number; indent: string } {
  const dash = text.lastIndexOf('-', startOf(item) - 1);
  const indent = dash === -1 ? undefined : indentAt(text, dash);
  if (indent === undefined) throw new UnsupportedLayoutError('the list is not written line by line');
  return { dash, indent };
}

function isComment(text: string, from: number, to: number): boolean {
  return text.slice(from, to).trim() !== '';
}

function itemOf(entry: Entry, indent: string, eol: string): string {
  return Object.entries(entry)
    .map(([name, value], index) => `${indent}${index === 0 ? '- ' : '  '}${name}: ${flowOf(value)}`)
    .join(eol);
}

/** The value on one line; a word has no quotes if every reader takes it as a string. */
function flowOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((one) => JSON.stringify(one)).join(', ')}]`;
  if (typeof value === 'string') return /^(mcp|holdfast)$/.test(value) ? value : JSON.stringify(value);
  return `{${Object.entries(value as Entry)
    .map(([name, one]) => `${name}: ${flowOf(one)}`)
    .join(', ')}}`;
}
