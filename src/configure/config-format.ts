/*
 * What the formats of configuration files have in common. Each edits the text and leaves every byte alone that it need
 * not touch; whether only that one entry has changed is checked afterwards by parsing both (edit.ts).
 */

/** An entry of a client's configuration: strings, lists of strings, and objects of such. */
export type Entry = Readonly<Record<string, unknown>>;

/** Where an entry lies, or is to lie. */
export interface Slot {
  /** The keys that lead from the top to what holds the entries. */
  readonly holder: readonly string[];
  /** The entry's name in an object of entries; its position in a list, whose length means a new one at its end. */
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
  /** Removes the entry, and nothing but what `add` would have made. */
  remove(text: string, slot: Slot): string;
  /** The entry as it would stand in a file of its own. */
  snippet(slot: Slot, entry: Entry): string;
  /** Sets keys of an entry that is there; `undefined` takes one out. */
  change(text: string, slot: Slot, keys: Readonly<Record<string, unknown>>): string;
}

/** The text is not in its format. */
export class ConfigSyntaxError extends Error {
  /** Both from 1. */
  readonly line: number;
  readonly column: number;

  constructor(line: number, column: number) {
    super(`line ${line}, column ${column}`);
    this.line = line;
    this.column = column;
  }
}

/** The text is written in a way that cannot be edited without touching more than the entry. */
export class UnsupportedLayoutError extends Error {}

/** Puts texts into a text; the places are those in the text as it was. */
export function splice(
  text: string,
  ...edits: readonly { readonly from: number; readonly to: number; readonly by: string }[]
): string {
  let result = '';
  let at = 0;
  // Stable: what is put in at one place keeps its order.
  for (const { from, to, by } of edits.toSorted((a, b) => a.from - b.from)) {
    result += text.slice(at, from) + by;
    at = to;
  }
  return result + text.slice(at);
}

/** How lines end in a text. */
export function lineEnd(text: string): string {
  return text.includes('\r\n') ? '\r\n' : '\n';
}

/** The white space in front of what is at that place, if nothing else is in front of it on its line. */
export function indentAt(text: string, offset: number): string | undefined {
  const before = text.slice(text.lastIndexOf('\n', offset - 1) + 1, offset);
  return /^[ \t]*$/.test(before) ? before : undefined;
}

/** The offset at which the line with that place ends, before its line end. */
export function endOfLine(text: string, offset: number): number {
  const end = text.indexOf('\n', offset);
  if (end === -1) return text.length;
  return text[end - 1] === '\r' && end - 1 >= offset ? end - 1 : end;
}

/** The first of some texts from which `add` makes that text again; else the last of them. */
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
