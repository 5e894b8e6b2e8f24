import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const installed = createRequire(import.meta.url);
const INSTALLED = /^(koffi|jsonc-parser|pg|ioredis|@aws-sdk\/client-kms|google-auth-library)$/;

/**
 * Bundles a program as one file of plain JavaScript, since 64 processes that load TypeScript would wait for the
 * compiler.
 */
export async function bundled(directory: string, name: string, source: URL): Promise<string> {
  const outfile = join(directory, `${name}.cjs`);
  await build({
    entryPoints: [fileURLToPath(source)],
    outfile,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    logLevel: 'error',
    // With --enable-source-maps, errors name the lines of the sources.
    sourcemap: true,
    sourcesContent: false,
    plugins: [
      {
        name: 'what is native, cannot be bundled, or is only there for who wants it, stays where it is installed',
        setup: (builder) => {
          builder.onResolve({ filter: INSTALLED }, ({ path }) => ({
            path: installed.resolve(path),
            external: true,
          }));
        },
      },
    ],
  });
  return outfile;
}
