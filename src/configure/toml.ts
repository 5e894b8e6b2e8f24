import { type AST, getStaticTOMLValue, ParseError, parseTOML } from 'toml-eslint-parser';
import {
  type ConfigFormat,
  ConfigSyntaxError,
  endOfLine,
  type Entry,
  inverse,
  lineEnd,
  type Slot,
  splice,
  UnsupportedLayoutError,
} from './config-format.ts';

/*
 * TOML. The parser says where each table lies, and nothing else is written: an entry is a table of its own at the end of
 * the file, where no other table can follow by mistake.
 */

export const TOML_FORMAT: ConfigFormat = { name: 'TOML', parse, add, remove, change, snippet };

function parse(text: string): unknown {
  return getStaticTOMLValue(read(text));
}

function add(text: string, { holder, key }: Slot, entry: Entry): string {
  const eol = lineEnd(text);
  const lines = [
    `[${[...holder, key].join('.')}]`,
    ...Object.entries(entry).map(([name, value]) => `${name} = ${valueOf(value)}`),
  ];
  const table = lines.join(eol);
  if (text === '') return `${table}${eol}`;
  // A file without a line end at its end is left without one.
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
  // The line ends in front of the table: none, one or two of them are of our making.
  const head = text.slice(0, first.from);
  const rest = without.slice(head.length);
  const shorter = [/(\r?\n){2}$/, /\r?\n$/].map((end) => head.replace(end, '') + rest);
  const plain = rest.trim() === '' ? (shorter[1] ?? without) : without;
  return inverse(text, [without, ...shorter.toReversed(), plain], (candidate) => add(candidate, slot, entry));
}

function change(text: string, slot: Slot, keys: Readonly<Record<string, unknown>>): string {
  const [table] = tablesOf(text, slot);
  const edits = Object.entries(keys).flatMap(([name, value]) => {
    const pair = table?.body.find((one) => one.key.keys.length === 1 && nameOf(one.key.keys[0]) === name);
    if (pair === undefined) throw new UnsupportedLayoutError(`"${name}" is not in the table itself`);
    if (JSON.stringify(getStaticTOMLValue(pair.value)) === JSON.stringify(value)) return [];
    return [{ from: pair.value.range[0], to: pair.value.range[1], by: valueOf(value) }];
  });
  return splice(text, ...edits);
}

function read(text: string): AST.TOMLProgram {
  try {
    return parseTOML(text, { tomlVersion: 'latest' });
  } catch (error) {
    if (error instanceof ParseError) throw new ConfigSyntaxError(error.lineNumber, error.column + 1);
    throw error;
  }
}

/** The table of an entry first, and those below it. */
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
    table.body.map((pair) => [pair.key.keys.map(nameOf).join('.'), getStaticTOMLValue(pair.value)]),
  );
}

function nameOf(key: AST.TOMLBare | AST.TOMLQuoted | undefined): string | undefined {
  return key?.type === 'TOMLBare' ? key.name : key?.value;
}

/** A basic string escapes what a JSON string does, and DEL. */
function valueOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(valueOf).join(', ')}]`;
  return JSON.stringify(value).replaceAll('\u007f', '\\u007f');
}
