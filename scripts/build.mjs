/*
 * Builds the package's dist/ (or the directory that is given): the library with tsc, file by file, and the command in
 * chunks. Every process that wants a token starts `holdfast token`, and Node reads and compiles all that a command loads
 * before it runs a line. So the command is CommonJS, which loads faster than ESM, minified, and split at each dynamic
 * import: a command loads its own code only. Each further file costs a read and a resolution, so the code that every
 * command needs is one chunk, the rest of `token` and `headers` another, and the other commands' declarations a third.
 * No chunk loads the entry, so it runs once. Declarations of internal modules are left out.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { build } from 'rolldown';
import ts from 'typescript';

/**
 * The code of a process that talks to servers for days: a proxy, a refresher. It is one chunk, all there from the start:
 * an update of the package removes the chunks of the old one.
 */
const ONLINE =
  /src\/((credentials|http|login|mcp|oauth|proxy|refresh|store|system|tokens)\/(?!postgres|redis)|cli\/commands\/(proxy|refresher|login)\.ts)/;

const dist = process.argv[2] ?? 'dist';
const bin = join(dist, 'bin');

rmSync(dist, { recursive: true, force: true });
const tsc = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', dist];
execFileSync(process.execPath, tsc, { stdio: 'inherit' });
removeInternalDeclarations();
const { output } = await build({
  input: { holdfast: 'src/cli/bin.ts' },
  platform: 'node',
  // These packages are native, or do not run when bundled. Each loads from the installed package at its first use.
  external: [
    '@aws-sdk/client-kms',
    'google-auth-library',
    'ioredis',
    'koffi',
    'jsonc-parser',
    'pg',
    'toml-eslint-parser',
    'yaml',
  ],
  transform: { target: 'node20' },
  // The groups below decide what loads together. A lazy import within one chunk is still lazy in the library.
  checks: { ineffectiveDynamicImport: false },
  output: {
    dir: bin,
    format: 'cjs',
    strict: true,
    minify: true,
    entryFileNames: '[name].cjs',
    chunkFileNames: 'chunks/[name]-[hash].cjs',
    codeSplitting: {
      // A group takes along what its modules import, except the modules of the groups before it.
      groups: [
        { name: 'main', test: /src\/cli\/(closed-prototypes|main|specs\/(token|headers))\.ts$/, priority: 4 },
        {
          name: 'token',
          test: /src\/(cli\/commands\/(token|headers)|keyring\/file\/file)\.ts$/,
          priority: 3,
        },
        { name: 'help', test: /src\/cli\/(help|specs\/\w+)\.ts$/, priority: 2 },
        { name: 'native', test: /src\/keyring\/native\//, priority: 2 },
        { name: 'online', test: ONLINE, priority: 1 },
      ],
    },
  },
});
chmodSync(join(bin, 'holdfast.cjs'), 0o755);
writeFileSync(join(bin, 'LICENSES.txt'), licensesOf(bundledPackages(output)));

/** The directories of the packages whose code is in the chunks. */
function bundledPackages(chunks) {
  const files = chunks.flatMap(({ modules = {} }) => Object.keys(modules));
  const directories = files.map((file) => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(file)?.[0]);
  return [...new Set(directories)].filter((directory) => directory !== undefined).sort();
}

/** The licenses of others ask for their text in each copy of the code. */
function licensesOf(directories) {
  const texts = directories.map((directory) => {
    const { name, version } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
    const file = readdirSync(directory).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new Error(`${name} has no license file`);
    return `${name} ${version}\n\n${readFileSync(join(directory, file), 'utf8').trim()}\n`;
  });
  return `The chunks beside this file contain code of these packages:\n\n${texts.join(`\n${'-'.repeat(72)}\n\n`)}`;
}

/** Removes the declarations that no entry point of the package reaches: nobody can import them. */
function removeInternalDeclarations() {
  const { exports } = JSON.parse(readFileSync('package.json', 'utf8'));
  const entries = Object.values(exports).flatMap(({ types }) => types?.replace(/^\.\/dist/, dist) ?? []);
  const reached = new Set();
  for (const queue = entries.map((entry) => resolve(entry)); queue.length > 0; ) {
    const file = queue.pop();
    if (reached.has(file)) continue;
    reached.add(file);
    const { importedFiles } = ts.preProcessFile(readFileSync(file, 'utf8'));
    for (const { fileName } of importedFiles) {
      if (fileName.startsWith('.')) queue.push(resolve(dirname(file), fileName.replace(/\.[jt]s$/, '.d.ts')));
    }
  }
  for (const name of readdirSync(dist, { recursive: true })) {
    if (name.endsWith('.d.ts') && !reached.has(resolve(dist, name))) rmSync(join(dist, name));
  }
}
