/**
 * Splits a command line into words. Whitespace separates words, and single or double quotes keep a word together. No
 * other character is special, and no shell is involved.
 *
 * @returns `undefined` when a quote is not closed
 */
export function commandWords(line: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quoted = '';
  for (const character of line) {
    if (quoted !== '') {
      if (character === quoted) quoted = '';
      else word += character;
    } else if (character === '"' || character === "'") {
      quoted = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quoted !== '') return undefined;
  if (word !== undefined) words.push(word);
  return words;
}
