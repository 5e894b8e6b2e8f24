/**
 * Escapes text from outside (a server, a file, an environment variable) before it reaches a terminal or a log. Escape
 * sequences could redraw the screen, and a page of HTML could bury the message.
 */

/**
 * The characters that a terminal interprets or does not show: controls (C0, C1), format and bidi characters, line and
 * paragraph separators, lone surrogates, characters without a glyph by definition (Default_Ignorable_Code_Point),
 * private use and unassigned ones.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Cn}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** Whether every character of it shows as itself, on one line. */
export function isPrintable(text: string): boolean {
  return text.search(UNPRINTABLE) < 0;
}

/** Returns one line, with unprintable characters escaped as `\u{1b}`. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** Like `printable`, for text of several lines: line feeds stay. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** JSON of the same meaning, with unprintable characters escaped as `\u001b`. */
export function printableJson(json: string): string {
  return json
    .split('\n')
    .map((line) =>
      line.replace(UNPRINTABLE, (character) =>
        character
          .split('')
          .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
          .join(''),
      ),
    )
    .join('\n');
}

/**
 * Makes foreign text safe to show: escapes control and formatting characters, limits the length, adds double quotes.
 *
 * @param text the foreign text
 * @param limit maximum number of characters to show (default 200)
 */
export function quote(text: string, limit = 200): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}…` : text;
  return `"${printable(cut.replace(/["\\]/g, '\\$&'))}"`;
}
