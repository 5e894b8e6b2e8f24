/*
 * Builds dist/: the library with tsc, file by file, and the command as one file. Every process that wants a token
 * starts `holdfast token`, so its start time matters most. Sixty small files cost 33 ms, one bundle 8 ms, and the ESM
 * loader 9 ms more than CommonJS. Splitting the bundle was tried and was slower. V8 compiles a function when it is
 * called, so code that a command does not run costs little. Each further file costs a read and a resolution.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

rmSync('dist', { recursive: true, force: true });
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
  stdio: 'inherit',
});
await build({
  entryPoints: ['src/cli/bin.ts'],
  outfile: 'dist/bin/holdfast.cjs',
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  minify: true,
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
});
chmodSync('dist/bin/holdfast.cjs', 0o755);
