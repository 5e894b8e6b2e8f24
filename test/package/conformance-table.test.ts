import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const ROOT = new URL('../../', import.meta.url);

/** The rows of the table of requirements: number, level, requirement, code, tests. */
function rows(): string[][] {
  const text = readFileSync(new URL('docs/conformance.md', ROOT), 'utf8');
  return text
    .split('\n')
    .filter((line) => /^\| \d+ /.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()));
}

/** The paths in a cell. */
function paths(cell = ''): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, path = '']) => path);
}

describe('docs/conformance.md', () => {
  test('lists each requirement once, in order', () => {
    expect(rows().map(([, number]) => Number(number))).toEqual(
      Array.from({ length: 66 }, (_, index) => index + 1),
    );
  });

  test('names only code and tests that exist', () => {
    const missing = rows().flatMap(([, number, , , code, tests]) => {
      const named = [
        ...paths(code).map((path) => (path.startsWith('docs/') ? path : `src/${path}`)),
        ...paths(tests).map((path) => `test/${path}`),
      ];
      expect({ number, named: named.length }).not.toEqual({ number, named: 0 });
      return named.filter((path) => !existsSync(fileURLToPath(new URL(path, ROOT))));
    });
    expect(missing).toEqual([]);
  });
});
