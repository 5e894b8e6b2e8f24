import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { builtinModules, createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { builtPackage } from '../support/built.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { seededHome } from '../support/homes/seeded-home.ts';
import { start } from '../support/processes/process.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
let PACKAGE: string;
let DIST: string;

/** The layers from bottom to top, as in `npm run layers`. */
const LAYERS = (createRequire(import.meta.url)('../../scripts/layers.cjs') as [string, string][]).map(
  ([, path]) => new RegExp(path.replace(/^\^src\//, '^').replaceAll('\\.ts', '\\.js')),
);

beforeAll(async () => {
  PACKAGE = await builtPackage();
  DIST = join(PACKAGE, 'dist');
}, 300_000);

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

/** All modules that a file loads by static imports. */
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
  test('no module imports from a layer above, not even lazily', async () => {
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

  test('only system/ touches files, processes and the environment, and only cli/ the console and argv', async () => {
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
    'importing %s loads no protocol, no native library and no optional one before its use',
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
    const files = more.filter((name) => name.startsWith('/')).map((name) => relative(DIST, name));
    expect(files).toContain('bin/holdfast.cjs');
    expect(files.filter((name) => !/^bin\/(holdfast\.cjs|chunks\/[\w-]+\.cjs)$/.test(name))).toEqual([]);
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
  test('the licenses of all bundled packages are beside the chunks', async () => {
    const { dependencies } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
    const text = await readFile(join(DIST, 'bin/LICENSES.txt'), 'utf8');
    const named = [...text.matchAll(/^([@\w/-]+) \d+\.\d+\.\d+$/gm)].map(([, name = '']) => name);
    const chunks = await readdir(join(DIST, 'bin/chunks'));
    const code = await Promise.all(chunks.map((name) => readFile(join(DIST, 'bin/chunks', name), 'utf8')));
    const loaded = (name: string) =>
      code.some((one) => new RegExp(`\\b(require|import)\\(.${name}.\\)`).test(one));
    // A package is in the chunks, or loads from where it is installed.
    const bundled = Object.keys(dependencies).filter((name) => !loaded(name));
    expect(named.toSorted()).toEqual(bundled.toSorted());
    expect(text.match(/Permission is hereby granted/g)).toHaveLength(named.length);
  });

  test('the package holds the build and its documents, works once installed, and reports its version', async () => {
    const place = await temporaryDirectory();
    const packed = JSON.parse(
      execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', place], {
        cwd: PACKAGE,
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
    // The layout that npm would create, with only the dependencies of package.json.
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
      '{"credentials":[],"undecryptable":[],"unseenLeases":[]} function function\n',
    );
  });
});

test('no command loads a module, a setting or a variable from the working directory', async () => {
  const directory = await temporaryDirectory();
  const mark = join(directory, 'LOADED');
  // Every package that Holdfast uses or may use.
  const { dependencies, optionalDependencies, peerDependencies } = JSON.parse(
    await readFile(join(ROOT, 'package.json'), 'utf8'),
  ) as Record<string, Record<string, string>>;
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
    const planted = join(directory, 'node_modules', name);
    await mkdir(planted, { recursive: true });
    await writeFile(
      join(planted, 'package.json'),
      JSON.stringify({ name, main: 'i.cjs', exports: './i.cjs' }),
    );
    const code = `require('node:fs').writeFileSync(${JSON.stringify(mark)}, ${JSON.stringify(name)});`;
    await writeFile(join(planted, 'i.cjs'), code);
  }
  await writeFile(join(directory, 'config.json'), '{"keyring":"memory","store":"redis://127.0.0.1:1"}');
  await writeFile(join(directory, '.env'), `HOLDFAST_SEALING_KEY_COMMAND=touch ${mark}`);
  await writeFile(join(directory, 'passphrase'), 'planted');
  const home = await seededHome();
  const variables = { HOLDFAST_HOME: home.path, HOLDFAST_KEYRING: 'file', HOME: home.path };
  const kms = {
    HOLDFAST_SEALING_KMS: 'awskms:///k?region=x',
    HOLDFAST_KEYRING: 'kms',
    AWS_ACCESS_KEY_ID: 'a',
    AWS_SECRET_ACCESS_KEY: 'b',
    AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
  };
  const runs: [string[], Record<string, string>][] = [
    [['token', home.resource], {}],
    [['list'], {}],
    [['doctor'], {}],
    [['receive', '--later'], {}],
    [['configure', '--list'], {}],
    [['import', '--list'], {}],
    [['list', '--store', 'postgres://127.0.0.1:1/x'], {}],
    [['list', '--store', 'redis://127.0.0.1:1'], {}],
    [['list'], { HTTPS_PROXY: 'http://127.0.0.1:9' }],
    [['doctor'], kms],
  ];
  const program = join(DIST, 'bin/holdfast.cjs');
  for (const [args, more] of runs) {
    const words = [program, ...args].map((word) => `'${word}'`).join(' ');
    const script = `cd '${directory}' && exec '${process.execPath}' ${words}`;
    const { out } = await start('sh', ['-c', script], { ...variables, ...more }).ended;
    if (args[0] === 'token') expect(out.trim()).toBe(home.token);
    expect([args, await readFile(mark, 'utf8').catch(() => 'nothing')]).toEqual([args, 'nothing']);
  }
});
