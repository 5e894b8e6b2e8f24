import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/* Documents that promise something. The last column of each table below the heading names the proof. */

const ROOT = new URL('../../', import.meta.url);

const TABLES = [
  { document: 'SECURITY.md', heading: '## Promises and their tests' },
  { document: 'docs/refresh.md', heading: '## When the server does not answer well' },
  { document: 'docs/refresh.md', heading: '## What can go wrong, and what is left' },
  { document: 'docs/fleet.md', heading: '## The protocol' },
  { document: 'docs/fleet.md', heading: '## What survives, and what no client can save' },
];

const { scripts } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as {
  scripts: Record<string, string>;
};

test.each(TABLES)(
  'each promise of $document under "$heading" names a test or a command that exists',
  ({ document, heading }) => {
    const text = readFileSync(new URL(document, ROOT), 'utf8');
    const section = text.slice(text.indexOf(heading) + heading.length);
    const [, body = ''] = /^\n(.*?)(?=\n## |$)/s.exec(section) ?? [];
    // The rows below the line of hyphens.
    const [, ...rows] = body.split('\n').filter((line) => /^\| (?!-)/.test(line));
    expect(rows.length).toBeGreaterThan(8);
    for (const row of rows) {
      const shown = row.split('|').at(-2) ?? '';
      if (shown.includes('it is not promised')) continue;
      const named = [...shown.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
      expect({ row, named: named.length }).not.toEqual({ row, named: 0 });
      for (const name of named) expect({ name, exists: exists(name) }).toEqual({ name, exists: true });
    }
  },
);

function exists(name: string): boolean {
  const script = /^npm run ([\w:]+)/.exec(name)?.[1];
  return script === undefined
    ? existsSync(fileURLToPath(new URL(name, ROOT)))
    : scripts[script] !== undefined;
}
