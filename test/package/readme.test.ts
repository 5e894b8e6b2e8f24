import { execFileSync } from 'node:child_process';
import { readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { allCommands, COMMAND_NAMES } from '../../src/cli/commands.ts';
import { COMMON } from '../../src/cli/options/common.ts';
import { VERSION } from '../../src/version.ts';
import { temporaryDirectory } from '../support/homes/home.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (name: string) => readFile(join(ROOT, name), 'utf8');

describe('the documents in the root directory', () => {
  test('the code has the version of package.json', async () => {
    expect(JSON.parse(await read('package.json')).version).toBe(VERSION);
  });

  test.each(['README.md', 'SECURITY.md'])('%s names only commands and options that exist', async (file) => {
    const text = (await read(file)).replaceAll(/npm [^`\n]*/g, '');
    const commands = await allCommands();
    const options = new Set(commands.flatMap(({ options: own }) => Object.keys({ ...own, ...COMMON })));
    for (const [, name] of text.matchAll(/holdfast ([a-z]+)\b(?=[^\n]*(?:https|`|\n))/g)) {
      expect(COMMAND_NAMES).toContain(name);
    }
    for (const [, option = ''] of text.matchAll(/(?<![\w-])--([a-z][a-z-]+)/g))
      expect([...options]).toContain(option);
  });

  test('README.md and CONTRIBUTING.md name only npm scripts that exist', async () => {
    const { scripts } = JSON.parse(await read('package.json'));
    const text = (await read('README.md')) + (await read('CONTRIBUTING.md'));
    const names = [...text.matchAll(/npm run ([a-z:]+)/g)].map(([, name]) => name);
    expect(names.length).toBeGreaterThan(5);
    for (const name of names) expect(Object.keys(scripts)).toContain(name);
  });

  test('docs/dependencies.md lists every run-time dependency with its reason', async () => {
    const { dependencies, optionalDependencies } = JSON.parse(await read('package.json'));
    const text = await read('docs/dependencies.md');
    const rows = [...text.matchAll(/^\| `([^`]+)` +\|/gm)].map(([, name]) => name);
    expect(new Set(rows)).toEqual(new Set(Object.keys({ ...dependencies, ...optionalDependencies })));
  });

  test('the programs in README.md compile against the library', async () => {
    const programs = [...(await read('README.md')).matchAll(/```ts\n(.*?)```/gs)].map(
      ([, text = '']) => text,
    );
    const place = await temporaryDirectory();
    for (const [index, text] of programs.entries()) {
      expect(text).toContain('openVault');
      await writeFile(join(place, `program-${index}.mts`), text);
    }
    await symlink(join(ROOT, 'node_modules'), join(place, 'node_modules'));
    const config = {
      extends: join(ROOT, 'tsconfig.json'),
      compilerOptions: {
        lib: ['ES2023', 'DOM'],
        typeRoots: [join(ROOT, 'node_modules/@types')],
        paths: { holdfast: [join(ROOT, 'src/index.ts')], 'holdfast/mcp': [join(ROOT, 'src/mcp/index.ts')] },
      },
      include: [join(place, '*.mts'), join(ROOT, 'src/**/*.d.ts')],
    };
    await writeFile(join(place, 'tsconfig.json'), JSON.stringify(config));
    expect(programs).toHaveLength(2);
    execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', place], {
      stdio: 'inherit',
    });
  });
});
