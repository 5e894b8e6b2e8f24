/**
 * Text that came from outside (a server, a file, an environment variable) never reaches a terminal or a log as it is:
 * escape sequences could redraw the screen, and a page of HTML could bury the message.
 */

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Foreign text made safe to show: control and formatting characters escaped, bounded in length, in double quotes.
 *
 * @param text what the other side said
 * @param limit the most characters of it to show (default 200)
 */
export function quote(text: string, limit = 200): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}…` : text;
  const escaped = cut
    .replace(/["\\]/g, '\\$&')
    .replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
  return `"${escaped}"`;
}
