import { createHash } from 'node:crypto';
import { cp, lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Lists everything below a directory: one line per name, with its kind, mode and a hash of its bytes. */
export async function contentsOf(directory: string): Promise<string[]> {
  const lines: string[] = [];
  const visit = async (path: string, name: string): Promise<void> => {
    const stats = await lstat(path).catch(() => undefined);
    if (stats === undefined) return;
    const mode = (stats.mode & 0o7777).toString(8).padStart(4, '0');
    if (!stats.isDirectory()) {
      const hash = createHash('sha256').update(await readFile(path));
      lines.push(`${mode} ${name} ${hash.digest('base64url').slice(0, 16)}`);
      return;
    }
    lines.push(`${mode} ${name}/`);
    for (const entry of (await readdir(path)).sort((a, b) => (a < b ? -1 : 1))) {
      await visit(join(path, entry), `${name}/${entry}`);
    }
  };
  await visit(directory, '.');
  return lines;
}

/** Copies a directory with its modes, so that one login with a browser serves many tests. */
export async function copyDirectory(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true });
}
