import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** A program as one file of plain JavaScript: 64 processes that each load TypeScript would wait for the compiler. */
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
    plugins: [
      {
        name: 'native modules stay where they are installed',
        setup: (builder) => {
          builder.onResolve({ filter: /^koffi$/ }, () => ({
            path: fileURLToPath(import.meta.resolve('koffi')),
            external: true,
          }));
        },
      },
    ],
  });
  return outfile;
}
