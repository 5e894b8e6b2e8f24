import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/home.ts';
import { start } from '../support/process.ts';
import { seededHome } from '../support/seeded-home.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DIST = join(ROOT, 'dist');

/** From below to above; a file imports from its own layer or from one below. */
const LAYERS = [
  /^(bare-error|errors|secret|quote|credential|version|plain-values|display-url|oauth-syntax)\.js$/,
  /^system\//,
  /^http\//,
  /^(sealing\.js$|handover\/|keyring\/|store\/|oauth\/)/,
  /^vault\//,
  /^mcp\//,
  /^proxy\//,
  /^configure\//,
  /^import\//,
  /^((index|stores|postgres|redis|telemetry)\.js$|testing\/)/,
  /^cli\//,
];

beforeAll(() => {
  execFileSync(process.execPath, [join(ROOT, 'scripts/build.mjs')], { stdio: 'inherit' });
});

interface Imports {
  readonly fixed: readonly string[];
  readonly lazy: readonly string[];
}

async function importsOf(file: string): Promise<Imports> {
  const text = await readFile(join(DIST, file), 'utf8');
  const find = (pattern: RegExp) =>
    [...text.matchAll(pattern)].map(([, specifier = '']) =>
      specifier.startsWith('.')
        ? relative(DIST, resolve(DIST, dirname(file), specifier))
        : specifier.replace(/^node:/, ''),
    );
  return {
    fixed: [
      ...find(/^(?:import|export)\b[^;'"]*?\bfrom\s+['"]([^'"]+)['"]/gm),
      ...find(/^import\s+['"]([^'"]+)['"]/gm),
    ],
    lazy: find(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g),
  };
}

async function modules(): Promise<string[]> {
  const names = await readdir(DIST, { recursive: true });
  return names.filter((name) => name.endsWith('.js'));
}

/** Everything that is loaded with a file, because it is imported and not asked for later. */
async function loadedWith(entry: string): Promise<Set<string>> {
  const seen = new Set<string>();
  const queue = [entry];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    if (file.endsWith('.js')) queue.push(...(await importsOf(file)).fixed);
  }
  return seen;
}

describe('the built library', () => {
  test('imports downwards only, lazily too', async () => {
    const layerOf = (file: string) => LAYERS.findIndex((pattern) => pattern.test(file));
    const wrong: string[] = [];
    const files = await modules();
    expect(files.length).toBeGreaterThan(50);
    for (const file of files) {
      const { fixed, lazy } = await importsOf(file);
      for (const other of [...fixed, ...lazy].filter((name) => name.endsWith('.js'))) {
        if (layerOf(other) < 0 || layerOf(other) > layerOf(file)) wrong.push(`${file} -> ${other}`);
        if (file.startsWith('oauth/') && /^(store|keyring)\/|^sealing/.test(other))
          wrong.push(`${file} -> ${other}`);
        if (/^(store|keyring)\//.test(file) && other.startsWith('oauth/')) wrong.push(`${file} -> ${other}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('touches files, processes and the environment in system/ only, the console and argv in cli/ only', async () => {
    const wrong: string[] = [];
    for (const file of await modules()) {
      const text = await readFile(join(DIST, file), 'utf8');
      const { fixed, lazy } = await importsOf(file);
      const machine = [...fixed, ...lazy].filter((name) => /^(fs|fs\/promises|child_process|os)$/.test(name));
      if (!file.startsWith('system/') && (machine.length > 0 || text.includes('process.env')))
        wrong.push(file);
      if (!file.startsWith('cli/') && /\bconsole\.|process\.(argv|exit|stdout|stderr)\b/.test(text))
        wrong.push(file);
    }
    expect(wrong).toEqual([]);
  });

  test.each(['index.js', 'testing/index.js'])(
    '%s loads no protocol, no native library and no optional one until it is used',
    async (entry) => {
      const loaded = [...(await loadedWith(entry))];
      expect(loaded).toContain('errors.js');
      expect(loaded.filter((name) => /^(http|oauth|cli)\//.test(name))).toEqual([]);
      const packages = loaded.filter((name) => !name.endsWith('.js'));
      expect(packages.filter((name) => /^(https?|net|tls|dns|child_process)$/.test(name))).toEqual([]);
      const builtin = new Set(builtinModules);
      expect(packages.filter((name) => !builtin.has(name))).toEqual(entry === 'index.js' ? ['valibot'] : []);
    },
  );
});

describe('the built command', () => {
  test('`holdfast token` with a fresh token loads no library, no network and no child process', async () => {
    const { path, resource, token } = await seededHome();
    const report = join(await temporaryDirectory(), 'loaded.cjs');
    await writeFile(
      report,
      `process.on('exit', () => process.stderr.write('\\n' + JSON.stringify([...process.moduleLoadList, ...Object.keys(require.cache)])));`,
    );
    const run = (args: readonly string[]) =>
      start(process.execPath, ['--require', report, ...args], {
        HOME: '/nonexistent',
        HOLDFAST_HOME: path,
        HOLDFAST_KEYRING: 'file',
      }).ended;
    const bare = await run(['-e', '0']);
    const ours = await run([join(DIST, 'bin/holdfast.cjs'), 'token', resource]);
    expect(ours.code).toBe(0);
    expect(ours.out === `${token}\n`).toBe(true);
    const loaded = (err: string) => JSON.parse(err.trim().split('\n').at(-1) ?? '') as string[];
    const before = new Set(loaded(bare.err));
    const more = loaded(ours.err).filter((name) => !before.has(name));
    expect(more.filter((name) => name.startsWith('/')).map((name) => relative(DIST, name))).toEqual([
      'bin/holdfast.cjs',
    ]);
    expect(
      more.filter((name) =>
        /^NativeModule (https?|_http_\w+|net|tls|dns|child_process|undici\S*|internal\/deps\/undici\S*)$/.test(
          name,
        ),
      ),
    ).toEqual([]);
  });
});

describe('the package', () => {
  test('holds the build and its papers, works where it is installed, and says its version', async () => {
    const place = await temporaryDirectory();
    const packed = JSON.parse(
      execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', place], {
        cwd: ROOT,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    );
    const [{ filename, files }] = Array.isArray(packed) ? packed : Object.values(packed);
    const names = (files as { path: string }[]).map(({ path }) => path);
    expect(names.filter((name) => !name.startsWith('dist/')).sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'NOTICE',
      'README.md',
      'SECURITY.md',
      'package.json',
    ]);
    // As npm would lay it out, with the dependencies that package.json names and no others.
    const modules = join(place, 'node_modules');
    await mkdir(join(modules, 'holdfast'), { recursive: true });
    execFileSync('tar', [
      '-xzf',
      join(place, filename),
      '--strip-components=1',
      '-C',
      join(modules, 'holdfast'),
    ]);
    const { version, dependencies } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
    for (const name of Object.keys(dependencies)) {
      await mkdir(dirname(join(modules, name)), { recursive: true });
      await symlink(join(ROOT, 'node_modules', name), join(modules, name));
    }
    const ask = (...args: string[]) =>
      execFileSync(process.execPath, args, { cwd: place, encoding: 'utf8', env: { PATH: '', HOME: place } });
    expect(ask(join(modules, 'holdfast/dist/bin/holdfast.cjs'), '--version')).toBe(`${version}\n`);
    const script = `
      const { openVault } = await import('holdfast');
      const { storeContract, keyringContract } = await import('holdfast/testing');
      const vault = openVault({ home: ${JSON.stringify(join(place, 'home'))}, keyring: 'file' });
      console.log(JSON.stringify(await vault.list()), typeof storeContract, typeof keyringContract);
      await vault.close();`;
    expect(ask('--input-type=module', '-e', script)).toBe(
      '{"credentials":[],"unopened":[]} function function\n',
    );
  });
});
