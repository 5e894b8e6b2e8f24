import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');

test.each(['docs/architecture.md', 'CONTRIBUTING.md'])('%s names only files that exist', (document) => {
  const named = [...read(document).matchAll(/`((?:src|test|docs|scripts|examples|bench|demo)\/[^`*\s]*)`/g)]
    .map(([, path = '']) => path)
    .filter((path) => !path.includes('NAME'));
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter((path) => !existsSync(fileURLToPath(new URL(path, ROOT))))).toEqual([]);
});

test('the map of CONTRIBUTING.md has each folder of src and of the root, and no other', () => {
  const [, map = ''] = /## Where things are.*?```\n(.*?)```/s.exec(read('CONTRIBUTING.md')) ?? [];
  const shown = map.split('\n').flatMap((line) => /^(\S+\/)\s/.exec(line)?.[1] ?? []);
  const folders = (path: string) =>
    readdirSync(new URL(path, ROOT), { withFileTypes: true })
      .filter((one) => one.isDirectory() && !one.name.startsWith('.'))
      .map((one) => `${path}${one.name}/`);
  const made = new Set(['node_modules/', 'dist/', 'src/', 'coverage/']);
  const there = [...folders('src/'), ...folders('')].filter((path) => !made.has(path));
  expect(shown.filter((path) => !path.startsWith('test/')).toSorted()).toEqual(
    there.filter((path) => !path.startsWith('test/')).toSorted(),
  );
});
