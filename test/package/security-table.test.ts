import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = new URL('../../', import.meta.url);

test('every promise in SECURITY.md names a test or a command that exists', () => {
  const text = readFileSync(new URL('SECURITY.md', ROOT), 'utf8');
  const [, table = ''] = /## Promises and their tests\n(.*?)\n## /s.exec(text) ?? [];
  const rows = table.split('\n').filter((line) => /^\| (?!promise|-)/.test(line));
  expect(rows.length).toBeGreaterThan(20);
  const { scripts } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as {
    scripts: Record<string, string>;
  };
  for (const row of rows) {
    const [, , shown = ''] = row.split('|');
    const named = [...shown.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
    expect({ row, named: named.length }).not.toEqual({ row, named: 0 });
    for (const name of named) {
      const script = /^npm run ([\w:]+)/.exec(name)?.[1];
      const exists =
        script === undefined ? existsSync(fileURLToPath(new URL(name, ROOT))) : scripts[script] !== undefined;
      expect({ name, exists }).toEqual({ name, exists: true });
    }
  }
});
