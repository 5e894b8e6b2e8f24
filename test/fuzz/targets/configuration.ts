import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import type { ConfigFormat, Entry, Slot } from '../../../src/configure/config-format.ts';
import { edited, valuesOf } from '../../../src/configure/edit.ts';
import { formatOf } from '../../../src/configure/open-format.ts';
import { hostileTexts } from '../inputs.ts';
import { checkFailure, feed, type Target } from '../target.ts';

/* Clients' configuration files in the three formats. A cloned repository may contain them. */

/** More characters than any configuration has, and fewer than Claude Code's history. */
const MOST = 64 * 1024;

/** The path appears only in messages. */
const PATH = '/home/me/client.conf';

const ENTRY: Entry = { command: 'holdfast', args: ['proxy', 'https://mcp.example/mcp?a="b"\\'] };

const FORMATS: readonly {
  readonly name: ConfigFormat['name'];
  readonly slot: Slot;
  readonly good: readonly string[];
  readonly words: readonly string[];
}[] = [
  {
    name: 'JSON',
    slot: { holder: ['mcpServers'], key: 'a' },
    good: [
      '{"mcpServers":{"keep":{"command":"k"}},"other":[1,2]}',
      '// mine\n{\n  "mcpServers": {\n    "a": { "command": "x", "args": [], }, /* c */\n  },\n}\n',
      '{\r\n\t"projects": {"/p": {"mcpServers": {}}}\r\n}',
      '',
    ],
    words: [
      '{',
      '}',
      '[',
      ']',
      ':',
      ',',
      '"',
      '"a"',
      '"mcpServers"',
      '//',
      '/*',
      '*/',
      '\n',
      '\\u',
      '1e9',
      'null',
    ],
  },
  {
    name: 'TOML',
    slot: { holder: ['mcp_servers'], key: 'a' },
    good: [
      'model = "x"\n[mcp_servers.keep]\ncommand = "k"\n',
      '[mcp_servers.a]\ncommand = "x"\nargs = ["y"]\n\n[mcp_servers.a.env]\nK = "v" # c\n',
      'a.b.c = 1\r\n[[t]]\r\nd = 1979-05-27T07:32:00Z\r\ns = """x\r\ny"""\r\n[t.u]\r\nv = { w = 1, x = [1, 2] }\r\n',
      '',
    ],
    words: [
      '[',
      ']',
      '[[',
      ']]',
      '=',
      '.',
      '"',
      "'",
      '"""',
      "'''",
      '\n',
      '#',
      '{',
      '}',
      ',',
      'a',
      '1',
      '-',
      'mcp_servers',
      '0x',
      'inf',
    ],
  },
  {
    name: 'YAML',
    slot: { holder: ['agents', 'root', 'toolsets'], key: 0 },
    good: [
      'agents:\n  root:\n    model: x\n    toolsets:\n      - type: mcp\n        command: k\n',
      'agents: {root: {toolsets: [{a: 1}, {b: 2}]}}\n',
      'x: &a [1, 2]\ny: *a\nagents:\r\n  root:\r\n    toolsets: # c\r\n    - |\r\n      text\r\n',
      '',
    ],
    words: [
      'a',
      ':',
      ' ',
      '\n',
      '  ',
      '-',
      '- ',
      '&a',
      '*a',
      '<<',
      '!!',
      '!',
      '|',
      '>',
      '{',
      '}',
      '[',
      ']',
      ',',
      '?',
      '"',
      "'",
      '#',
      '---',
      '...',
      '%',
      '\t',
      '@',
    ],
  },
];

export const CONFIGURATION: readonly Target[] = FORMATS.map(({ name, slot, good, words }) => ({
  name: name.toLowerCase(),
  title: `reads a configuration file in ${name}, changes one entry of it, or refuses it and names the line`,
  runs: 600,
  async open() {
    const format = await formatOf(name);
    const outcomes = { read: 0, changed: 0, refused: 0 };
    return {
      property: feed(hostileTexts(good, words, MOST), (text) => {
        let before: unknown;
        try {
          before = valuesOf(format, text, PATH);
          outcomes.read += 1;
          const added = edited(format, text, slot, { kind: 'add', entry: ENTRY }, PATH);
          assert.ok(holdsEntry(valuesOf(format, added, PATH)), 'the entry is not there');
          outcomes.changed += 1;
        } catch (error) {
          checkFailure(error, ['invalid-argument']);
          outcomes.refused += 1;
        }
        checkPlain(before);
      }),
      reached: () => assert.ok(Math.min(...Object.values(outcomes)) > 5, JSON.stringify(outcomes)),
    };
  },
}));

/** Searches all levels, since each format has its own place for the entry. */
function holdsEntry(values: unknown): boolean {
  if (typeof values !== 'object' || values === null) return false;
  const { command, args } = values as Entry;
  if (isDeepStrictEqual({ command, args }, ENTRY)) return true;
  return Object.values(values).some(holdsEntry);
}

/** Checks that no parsed value inherits from an object in the text. */
function checkPlain(values: unknown): void {
  const known: readonly unknown[] = [null, Object.prototype, Array.prototype, Date.prototype];
  // A loop, so that only the parser depends on the depth.
  const seen = new Set<unknown>();
  for (const left = [values]; left.length > 0; ) {
    const one = left.pop();
    if (typeof one !== 'object' || one === null || seen.has(one)) continue;
    seen.add(one);
    const prototype: unknown = Object.getPrototypeOf(one);
    assert.ok(
      known.includes(prototype) || Object.getPrototypeOf(prototype) === Date.prototype,
      'a value has another prototype',
    );
    left.push(...Object.values(one));
  }
}
