/** Texts that control a terminal, hide text, or reverse its order, by name. */
export const HOSTILE_TEXTS: readonly (readonly [name: string, text: string])[] = [
  ['a window title by OSC', 'x\u001b]0;PWNED\u0007y'],
  ['a cleared screen by CSI', 'x\u001b[2J\u001b[Hy'],
  ['hidden text by CSI', 'x\u001b[8my'],
  ['a CSI of one character (C1)', 'x\u009b31my'],
  ['an OSC of one character (C1)', 'x\u009d0;PWNED\u009cy'],
  ['a device control string', 'x\u001bPq\u001b\\y'],
  ['a bell', 'x\u0007y'],
  ['a carriage return', 'x\ry'],
  ['a backspace', 'x\b\by'],
  ['a tab', 'x\ty'],
  ['a delete', 'x\u007fy'],
  ['a null', 'x\0y'],
  ['a right-to-left override', 'x\u202ey'],
  ['a left-to-right isolate', 'x\u2066y\u2069'],
  ['a right-to-left mark', 'x\u200fy'],
  ['a zero-width space', 'x\u200by'],
  ['a zero-width joiner', 'x\u200dy'],
  ['a byte order mark', 'x\ufeffy'],
  ['a soft hyphen', 'x\u00ady'],
  ['a Hangul filler', 'x\u3164y'],
  ['a line separator', 'x\u2028y'],
  ['a paragraph separator', 'x\u2029y'],
  ['a lone high surrogate', 'x\ud800y'],
  ['a lone low surrogate', 'x\udc00y'],
  ['a tag character', 'x\u{e0041}y'],
  ['a private-use character', 'x\ue000y'],
];

/** The unprintable characters of an output, except line feeds. */
export function unprintableIn(text: string): string[] {
  const found =
    text.match(/(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu) ?? [];
  return [...new Set(found)].map((character) => `U+${character.codePointAt(0)?.toString(16)}`);
}
