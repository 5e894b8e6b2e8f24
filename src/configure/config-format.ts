/*
 * The common part of the configuration formats. Each edits the text and leaves all other bytes alone. edit.ts then
 * parses both texts and checks that only the one entry has changed.
 */

/** An entry of a client's configuration: strings, lists of strings, and objects of these. */
export type Entry = Readonly<Record<string, unknown>>;

/** The location of an existing or future entry. */
export interface Slot {
  /** The keys from the top to the object or list of entries. */
  readonly holder: readonly string[];
  /**
   * The entry's name in an object of entries, or its position in a list. The list's length means a new entry at its
   * end.
   */
  readonly key: string | number;
}

export interface ConfigFormat {
  readonly name: 'JSON' | 'TOML' | 'YAML';
  /**
   * The values in a text.
   *
   * @throws ConfigSyntaxError
   */
  parse(text: string): unknown;
  /** @throws UnsupportedLayoutError */
  add(text: string, slot: Slot, entry: Entry): string;
  /** Removes the entry, and only the text that `add` would have written. */
  remove(text: string, slot: Slot): string;
  /** The entry in a file of its own. */
  snippet(slot: Slot, entry: Entry): string;
  /** Sets keys of an existing entry; `undefined` removes a key. */
  change(text: string, slot: Slot, keys: Readonly<Record<string, unknown>>): string;
}

/** The text is not in its format. */
export class ConfigSyntaxError extends Error {
  /** Both count from 1. */
  readonly line: number;
  readonly column: number;

  constructor(line: number, column: number) {
    super(`line ${line}, column ${column}`);
    this.line = line;
    this.column = column;
  }
}

/** The text's layout does not allow an edit of only this entry. */
export class UnsupportedLayoutError extends Error {}

/** Replaces parts of a text; the offsets are those in the original text. */
export function splice(
  text: string,
  ...edits: readonly { readonly from: number; readonly to: number; readonly by: string }[]
): string {
  let result = '';
  let at = 0;
  // A stable sort: insertions at one offset keep their order.
  for (const { from, to, by } of edits.toSorted((a, b) => a.from - b.from)) {
    result += text.slice(at, from) + by;
    at = to;
  }
  return result + text.slice(at);
}

/** The text's line ending. */
export function lineEnd(text: string): string {
  return text.includes('\r\n') ? '\r\n' : '\n';
}

/** The white space before the offset, if nothing else precedes it on its line. */
export function indentAt(text: string, offset: number): string | undefined {
  const before = text.slice(text.lastIndexOf('\n', offset - 1) + 1, offset);
  return /^[ \t]*$/.test(before) ? before : undefined;
}

/** The offset of the end of this offset's line, before its line ending. */
export function endOfLine(text: string, offset: number): number {
  const end = text.indexOf('\n', offset);
  if (end === -1) return text.length;
  return text[end - 1] === '\r' && end - 1 >= offset ? end - 1 : end;
}

/** The first candidate from which `add` restores the text; else the last candidate. */
export function inverse(text: string, candidates: readonly string[], add: (text: string) => string): string {
  const exact = candidates.find((candidate) => {
    try {
      return add(candidate) === text;
    } catch {
      return false;
    }
  });
  return exact ?? candidates.at(-1) ?? text;
}
