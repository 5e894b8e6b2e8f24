import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

/* Nobody owns the name `holdfast` on a registry. An attacker who registers it reaches all who follow such advice. */

const ROOT = join(import.meta.dirname, '../..');
const PLACES = [
  'src',
  'docs',
  'examples',
  'demo',
  'dist',
  'README.md',
  'SECURITY.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
];

/** A package manager, options and other packages on the same line, and the name alone. */
const INSTALLS =
  /\b(npm|pnpm|yarn|bun|deno)\s+(install|i|add|exec|x|dlx|update|up|upgrade|create|init|global\s+add)\b[^\n`'"]*\s(npm:)?holdfast(@[\w.^~-]+)?(?![\w/.-])|\b(npx|bunx|pnpx|uvx|pipx?|brew|cargo|gem|go)\s+(install\s+)?(-\S+\s+)*holdfast(@[\w.^~-]+)?(?![\w/.-])/;

async function texts(place: string): Promise<readonly (readonly [string, string])[]> {
  const path = join(ROOT, place);
  const names = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => undefined);
  const files =
    names === undefined
      ? [path]
      : names.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
  const read = files
    .filter((file) => /\.(c?[jt]s|mjs|md|json|ya?ml)$/.test(file))
    .map(
      async (file) => [file.slice(ROOT.length + 1), await readFile(file, 'utf8').catch(() => '')] as const,
    );
  return Promise.all(read);
}

describe('advice to install Holdfast', () => {
  test.each([
    'npm install --global holdfast@latest',
    'npm i -g holdfast',
    'npx holdfast login',
    'npx -y holdfast@0.2 login',
    'pnpm dlx holdfast',
    'yarn global add holdfast',
    'npm install pg holdfast',
  ])('finds the install advice in: %s', (text) => {
    expect(INSTALLS.test(text)).toBe(true);
  });

  test.each([
    'npm install --global .',
    'npm install pg',
    'npx tsx examples/holdfast.ts',
    'npm install holdfast-0.1.0.tgz',
  ])('finds no install advice in: %s', (text) => {
    expect(INSTALLS.test(text)).toBe(false);
  });

  test.each(PLACES)('advises no install from a registry in %s', async (place) => {
    const found = (await texts(place)).flatMap(([file, text]) => {
      const hit = INSTALLS.exec(text);
      return hit === null ? [] : [`${file}: ${hit[0]}`];
    });
    expect(found).toEqual([]);
  });
});
