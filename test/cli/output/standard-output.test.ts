import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../../support/homes/home.ts';
import { holdfast, start } from '../../support/processes/process.ts';

const program = process.env['HOLDFAST_TEST_PROGRAM'] ?? '';

/** Runs a line of shell in which `holdfast` is the command. */
async function shell(line: string) {
  const directory = await temporaryDirectory();
  const script = join(directory, 'script.sh');
  await writeFile(script, `holdfast() { '${process.execPath}' '${program}' "$@"; }\n${line}\n`);
  return start('sh', [script], {
    HOME: directory,
    PATH: process.env['PATH'] ?? '',
    OUT: join(directory, 'out'),
  }).ended;
}

describe('standard output', () => {
  test('has the same answer as a socket, a pipe, a file and the end of another file', async () => {
    const { out } = await holdfast(['completion', 'bash']).ended;
    expect(out).toMatch(/complete -F _holdfast holdfast\n$/);
    expect((await shell('holdfast completion bash | cat')).out).toBe(out);
    expect((await shell('holdfast completion bash > "$OUT"; cat "$OUT"')).out).toBe(out);
    expect((await shell('echo before > "$OUT"; holdfast completion bash >> "$OUT"; cat "$OUT"')).out).toBe(
      `before\n${out}`,
    );
  });

  test('waits for the reader of a full pipe that does not block its writers', async () => {
    const { out } = await holdfast(['completion', 'bash']).ended;
    // Perl fills the pipe, and leaves it so that a write to it fails while it is full.
    const fill = `perl -e 'use Fcntl; fcntl(STDOUT, F_SETFL, O_NONBLOCK | O_WRONLY); 1 while syswrite(STDOUT, "x" x 512)'`;
    const read = await shell(
      `{ ${fill}; holdfast completion bash; echo "exit $?" >&2; } | { sleep 1; cat; }`,
    );
    expect(read.err).toBe('exit 0\n');
    expect(read.out.replace(/^x+/, '')).toBe(out);
    expect(read.out.length).toBeGreaterThan(out.length + 4_096);
  });

  test('ends with exit code 0 and no message when nobody reads it', async () => {
    const { err } = await shell('{ holdfast completion bash; echo "exit $?" >&2; } | true');
    expect(err).toBe('exit 0\n');
  });
});
