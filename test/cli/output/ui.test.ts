import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Output, Ui } from '../../../src/cli/output/ui.ts';
import { NetworkError } from '../../../src/errors.ts';
import { HOSTILE_TEXTS, unprintableIn } from '../../support/hostile-text.ts';
import '../../support/fixed-seed.ts';

function written(options: { json?: boolean; log?: boolean; isTTY?: boolean; debug?: boolean } = {}) {
  const said = { out: '', err: '' };
  const stream = (name: 'out' | 'err'): Output => ({
    isTTY: options.isTTY,
    columns: 80,
    write: (text) => (said[name] += text),
  });
  const ui = new Ui({
    stdout: () => stream('out'),
    stderr: () => stream('err'),
    json: options.json ?? false,
    quiet: false,
    log: options.log,
    variables: options.debug === true ? { HOLDFAST_DEBUG: '1' } : {},
  });
  return { ui, said };
}

function sayEverywhere(ui: Ui, text: string): void {
  ui.data(text);
  ui.dataJson({ [text]: text });
  ui.note(text, { text });
  ui.showUrl(text);
  ui.say(text, { text });
  ui.progress(text);
  ui.warn(text, text, { text });
  ui.error(new Error(text, { cause: new Error(text) }));
  ui.error(new NetworkError(text, { hint: text, cause: new Error(text) }));
  ui.fail({ code: 'network', message: text, hint: text, retryable: false }, text);
}

describe('the class that writes to the terminal', () => {
  test.each(HOSTILE_TEXTS)('escapes everything that a terminal acts on: %s', (_name, text) => {
    for (const options of [{}, { json: true }, { log: true }]) {
      const { ui, said } = written({ ...options, debug: true });
      sayEverywhere(ui, text);
      expect(unprintableIn(said.out + said.err)).toEqual([]);
      expect(said.out).not.toBe('');
    }
  });

  test('escapes everything that a terminal acts on, in any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }), (text, other) => {
        for (const options of [{}, { json: true }, { log: true }]) {
          const { ui, said } = written({ ...options, debug: true });
          sayEverywhere(ui, `${text}${other}`);
          expect(unprintableIn(said.out + said.err)).toEqual([]);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('adds its own styles after escaping, and lets no foreign style through', () => {
    const { ui, said } = written({ isTTY: true });
    ui.note(`${ui.style('bold', 'one\u001b[31m')} two\u001b[32m ${ui.style('green', 'three')}`);
    expect(said.err).toBe('\u001b[1mone\\u{1b}[31m\u001b[22m two\\u{1b}[32m \u001b[32mthree\u001b[39m\n');
  });

  test('escapes JSON so that a parser reads the same text', () => {
    const { ui, said } = written({ json: true });
    const value = { text: '\u009b31m \u202e \u2028 \ud800 \u{e0041} ü 🙂' };
    ui.dataJson(value);
    expect(unprintableIn(said.out)).toEqual([]);
    expect(JSON.parse(said.out)).toEqual(value);
  });

  test('keeps a message on one line, so that it cannot look like two', () => {
    const { ui, said } = written();
    ui.fail({ code: 'network', message: 'one\nerror: two', hint: undefined, retryable: false });
    expect(said.err).toBe('error: one\\u{a}error: two\n');
  });

  test.each(HOSTILE_TEXTS)('writes a token or a header byte for byte, or not at all: %s', (_name, text) => {
    const { ui, said } = written();
    ui.dataLine('Authorization: Bearer abc');
    expect(() => ui.dataLine(`Authorization: Bearer ${text}`)).toThrow('nothing was printed');
    expect(said.out).toBe('Authorization: Bearer abc\n');
  });

  test('shortens URLs in notes, warnings, errors and logs, and says that a command needs the whole URL', () => {
    const url = 'https://zoho.example/mcp?key=4f1c9a77b2e84d0c';
    for (const options of [{}, { json: true }, { log: true }]) {
      const { ui, said } = written(options);
      ui.note(url);
      ui.warn(url, url);
      ui.error(new Error(url));
      expect(said.err).not.toContain('4f1c9a77b2e84d0c');
    }
    const { ui, said } = written();
    ui.fail({
      code: 'network',
      message: 'It ended.',
      hint: `Log in again: holdfast login '${url}'`,
      retryable: false,
    });
    expect(said.err).toBe(
      "error: It ended.\n  Log in again: holdfast login 'https://zoho.example/mcp?key=…'\n  Give the whole URL: … hides what may be a key in it.\n",
    );
  });
});

describe('the sources of the command line', () => {
  const CLI = fileURLToPath(new URL('../../../src/cli', import.meta.url));
  /** The allowed files, each with the one line that uses a stream. */
  const ALLOWED: readonly (readonly [file: string, line: RegExp])[] = [
    ['main.ts', /^const \{ stderr \} = process;$/],
    // The Ui writes through it.
    ['output/standard-output.ts', /^this\.#stream = process\.stdout;$/],
    [
      'output/standard-output.ts',
      /^const rest = this\.#stream === undefined \? writeAtOnce\(text\) : text;$/,
    ],
    // Readline echoes the typed text; the Ui escapes the question.
    ['output/terminal.ts', /^const \{ stdin, stderr \} = process;$/],
    ['output/terminal.ts', /process\.stderr\.(isTTY|columns)/],
    ['blob-input.ts', /createInterface\(\{ input: process\.stdin, output: process\.stderr,/],
    // Speaks the MCP protocol with the client that started Holdfast.
    ['commands/proxy.ts', /^output: invocation\.output\(\),$/],
  ];

  test('writes to stdout and stderr only through the Ui class', async () => {
    const found: string[] = [];
    for (const file of await readdir(CLI, { recursive: true })) {
      if (!file.endsWith('.ts')) continue;
      for (const text of (await readFile(join(CLI, file), 'utf8')).split('\n')) {
        const line = text.trim();
        const touches =
          /\bstd(out|err)\b.*\bprocess\b|\bprocess\.(std(out|err)|emitWarning|report)\b|\bconsole\.|\bwrite(Sync|AtOnce)\(|\.output\(\)/;
        if (!touches.test(line) || line.startsWith('*') || line.startsWith('//')) continue;
        if (!ALLOWED.some(([where, what]) => where === file && what.test(line)))
          found.push(`${file}: ${line}`);
      }
    }
    expect(found).toEqual([]);
  });
});
