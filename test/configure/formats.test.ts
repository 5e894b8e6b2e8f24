import fc from 'fast-check';
import { visit } from 'jsonc-parser';
import { describe, expect, test } from 'vitest';
import type { ConfigFormat, Entry, Slot } from '../../src/configure/config-format.ts';
import { edited, valuesOf } from '../../src/configure/edit.ts';
import { JSON_FORMAT } from '../../src/configure/json.ts';
import { TOML_FORMAT } from '../../src/configure/toml.ts';
import { YAML_FORMAT } from '../../src/configure/yaml.ts';
import * as files from './files.ts';
import '../support/fixed-seed.ts';

const ENTRY: Entry = { command: 'holdfast', args: ['proxy', 'https://mcp.notion.com/mcp'] };
const TOOLSET: Entry = { type: 'mcp', ...ENTRY };
const SLOT: Slot = { holder: ['mcpServers'], key: 'notion' };
const TOOLSETS = ['agents', 'root', 'toolsets'];

interface Case {
  readonly format: ConfigFormat;
  readonly slot: Slot;
  readonly entry: Entry;
  readonly text: string;
}

const json = (text: string, ...holder: string[]): Case => ({
  format: JSON_FORMAT,
  slot: { holder, key: 'notion' },
  entry: ENTRY,
  text,
});
const toml = (text: string): Case => ({
  format: TOML_FORMAT,
  slot: { holder: ['mcp_servers'], key: 'notion' },
  entry: ENTRY,
  text,
});
const yaml = (text: string, key: number): Case => ({
  format: YAML_FORMAT,
  slot: { holder: TOOLSETS, key },
  entry: TOOLSET,
  text,
});

const CASES: Readonly<Record<string, Case>> = {
  'Claude Code, servers in the middle': json(files.CLAUDE_CODE, 'mcpServers'),
  'Claude Code, no servers yet': json('{\n  "numStartups": 1\n}', 'mcpServers'),
  'Claude Desktop, entries on one line': json(files.CLAUDE_DESKTOP, 'mcpServers'),
  'Cursor, no servers in it': json('{\n  "mcpServers": {}\n}\n', 'mcpServers'),
  'Cursor, only a comment': json('{\n  "mcpServers": {\n    // none yet\n  }\n}\n', 'mcpServers'),
  'Cursor, on one line': json('{ "mcpServers": { "a": { "command": "x" } } }\n', 'mcpServers'),
  'Cursor, without any space': json('{"mcpServers":{"a":{"command":"x"}}}\n', 'mcpServers'),
  'Cursor, without any space or server': json('{"mcpServers":{}}', 'mcpServers'),
  'Gemini CLI, odd indentation': json(files.GEMINI, 'mcpServers'),
  'VS Code, tabs and comments': json(files.VSCODE, 'servers'),
  'opencode, no servers and a comma too many': json(files.OPENCODE, 'mcp'),
  'opencode 2, one level deeper': json(
    '{\n  "mcp": {\n    "timeout": 5,\n    "servers": {"a": {}}\n  }\n}',
    'mcp',
    'servers',
  ),
  'a comment on the last line': json('{\n  "a": 1 // one\n  /* two */\n}\n', 'mcpServers'),
  'Codex, tables and a text that looks like one': toml(files.CODEX),
  'Codex, without a line end': toml('model = "gpt-5"'),
  'Codex, with blank lines at the end': toml('model = "gpt-5"\n\n\n'),
  'Codex, empty': toml(''),
  'docker-agent': yaml(files.DOCKER_AGENT, 2),
  'docker-agent, dashes below the key': yaml(
    'agents:\n  root:\n    toolsets:\n    - type: think\n    model: x\n',
    1,
  ),
  'docker-agent, on one line': yaml('agents:\n  root:\n    toolsets: [{type: think}] # few\n', 1),
  'docker-agent, an empty list': yaml('agents:\n  root:\n    toolsets: []\n', 0),
  'docker-agent, no toolsets': yaml('agents:\n  root:\n    model: x # fast\n\nmodels: {}\n', 0),
  'docker-agent, the last toolset ends in a text': yaml(
    'agents:\n  root:\n    toolsets:\n      -   type: mcp\n          instruction: |\n            Be kind.\n\n            Always.\n\n    model: x',
    1,
  ),
};

/** Whether `next` is `old` with text inserted: nothing removed, nothing moved. */
function isWithin(old: string, next: string): boolean {
  let at = 0;
  for (const character of next) if (character === old[at]) at += 1;
  return at === old.length;
}

/** The lines of `old` that `next` does not keep unchanged and in order. */
function changedLines(old: string, next: string): string[] {
  const after = next.split('\n');
  return old.split('\n').filter((line) => {
    const at = after.indexOf(line);
    if (at !== -1) after.splice(0, at + 1);
    return at === -1;
  });
}

/** The meaning of a file, which removing the entry restores: of JSON its values and comments, else every byte. */
function meaning(format: ConfigFormat, text: string): unknown {
  if (format !== JSON_FORMAT) return text;
  const comments: string[] = [];
  visit(text, { onComment: (offset, length) => comments.push(text.slice(offset, offset + length)) });
  return { values: valuesOf(format, text, '/f'), comments, hasMark: text.startsWith('\ufeff') };
}

const VARIANTS: Readonly<Record<string, (text: string) => string>> = {
  'as it is': (text) => text,
  'with CRLF': (text) => text.replaceAll('\n', '\r\n'),
  'with a byte order mark': (text) => `\ufeff${text}`,
};

describe.each(Object.entries(CASES))('%s', (_, { format, slot, entry, text: original }) => {
  test.each(Object.entries(VARIANTS))(
    'removes an added entry so that the file means the same as before: %s',
    (_name, variant) => {
      const text = variant(original);
      const added = edited(format, text, slot, { kind: 'add', entry }, '/f');
      expect(isWithin(text, added)).toBe(true);
      // A holder on a single line may be broken up; no other line may change.
      expect(changedLines(text, added).length).toBeLessThanOrEqual(1);
      if (text.includes('\r\n')) expect(added.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
      const removed = edited(format, added, slot, { kind: 'remove' }, '/f');
      expect(meaning(format, removed)).toEqual(meaning(format, text));
      if (text.includes('\r\n')) expect(removed.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
    },
  );

  test('changes only the values that differ', () => {
    const added = edited(format, original, slot, { kind: 'add', entry }, '/f');
    const keys = { command: '/opt/hold fast', args: ['proxy', 'https://mcp.notion.com/mcp', '--account=é"'] };
    const changed = edited(format, added, slot, { kind: 'change', keys }, '/f');
    expect(changed).not.toBe(added);
    const back = edited(
      format,
      changed,
      slot,
      { kind: 'change', keys: { command: ENTRY['command'], args: ENTRY['args'] } },
      '/f',
    );
    expect(format.parse(back)).toEqual(format.parse(added));
    const removed = edited(format, back, slot, { kind: 'remove' }, '/f');
    expect(meaning(format, removed)).toEqual(meaning(format, original));
  });
});

test('formats the new entry like the file around it', () => {
  const shown = (name: string) => {
    const { format, slot, entry, text } = CASES[name] as Case;
    return edited(format, text, slot, { kind: 'add', entry }, '/f');
  };
  expect(shown('VS Code, tabs and comments').split('the browser')[0]).toContain(`\t"servers": {
\t\t"notion": {
\t\t\t"command": "holdfast",
\t\t\t"args": [
\t\t\t\t"proxy",
\t\t\t\t"https://mcp.notion.com/mcp"
\t\t\t]
\t\t},
\t\t/* `);
  expect(shown('Claude Desktop, entries on one line')).toContain(`"/home/me"]},
        "notion": {
            "command": "holdfast",
            "args": [
                "proxy",
                "https://mcp.notion.com/mcp"
            ]
        }
    }
}`);
  expect(shown('Cursor, on one line')).toBe(
    '{ "mcpServers": { "a": { "command": "x" }, "notion": { "command": "holdfast", "args": [ "proxy", "https://mcp.notion.com/mcp" ] } } }\n',
  );
  expect(shown('docker-agent')).toContain(`        tools: ["search"]
      - type: mcp
        command: holdfast
        args: ["proxy", "https://mcp.notion.com/mcp"]

      # Later: more of them.
`);
  expect(shown('docker-agent, no toolsets')).toBe(`agents:
  root:
    model: x # fast
    toolsets:
      - type: mcp
        command: holdfast
        args: ["proxy", "https://mcp.notion.com/mcp"]

models: {}
`);
});

test.each([
  ['{\n  "mcpServers": {\n  }\n}\n', '{\n  "mcpServers": {}\n}\n'],
  ['{\n  "a": 1,\n  "mcpServers": {}\n}\n', '{\n  "a": 1\n}\n'],
])('restores the meaning of an object without servers, in another spelling: %j', (text, expected) => {
  const added = edited(JSON_FORMAT, text, SLOT, { kind: 'add', entry: ENTRY }, '/f');
  expect(edited(JSON_FORMAT, added, SLOT, { kind: 'remove' }, '/f')).toBe(expected);
});

test.each([
  [
    'before and after an entry',
    '// ours\n    "notion": {"command": "holdfast"},\n    // theirs\n    "b": {}',
    '// ours\n    // theirs\n    "b": {}',
  ],
  ['behind the entry before', '"a": {}, // one\n    "notion": {}', '"a": {} // one'],
  ['behind an entry', '"a": {},\n    "notion": {} // two', '"a": {}\n     // two'],
  ['between an entry and its comma', '"a": {}, "notion": {} /* c */,', '"a": {}, /* c */'],
  ['around the only entry', '// zero\n    "notion": {}, // one', '// zero\n     // one'],
])('keeps the comments %s, and removes only the entry and its comma', (_, entries, expected) => {
  const file = (inner: string) => `{\n  "x": 1,\n  "mcpServers": {\n    ${inner}\n  }\n}\n`;
  expect(edited(JSON_FORMAT, file(entries), SLOT, { kind: 'remove' }, '/f')).toBe(file(expected));
});

test('leaves the comments of other entries where they are when it adds an entry', () => {
  const text = '{\n  "mcpServers": {\n    "a": {} // one\n    // two\n  }\n}\n';
  const added = edited(JSON_FORMAT, text, SLOT, { kind: 'add', entry: ENTRY }, '/f');
  expect(added).toMatch(/"a": \{\} \/\/ one\n {4}\/\/ two\n {2}\}\n\}\n$/);
});

test('changes the last of two equal keys, which is the one that counts', () => {
  const text = '{"mcpServers": {"a": {}}, "mcpServers": {"b": {}}}';
  const added = edited(JSON_FORMAT, text, SLOT, { kind: 'add', entry: ENTRY }, '/f');
  expect(valuesOf(JSON_FORMAT, added, '/f')).toEqual({ mcpServers: { b: {}, notion: ENTRY } });
  expect(added).toContain('{"mcpServers": {"a": {}}, ');
});

test('writes a name that needs escapes', () => {
  const slot = { holder: ['mcpServers'], key: 'a"\\\n\u2028é' };
  const added = edited(JSON_FORMAT, '{}', slot, { kind: 'add', entry: ENTRY }, '/f');
  expect(JSON.parse(added)).toEqual({ mcpServers: { [slot.key]: ENTRY } });
});

test('refuses __proto__ as the name of an entry', () => {
  const slot = { holder: ['mcpServers'], key: '__proto__' };
  expect(() => edited(JSON_FORMAT, '{}', slot, { kind: 'add', entry: ENTRY }, '/f')).toThrow(/left as it is/);
});

// The library's own formatting takes minutes for such a line.
test('adds an entry to a file with one line of a megabyte', () => {
  const text = JSON.stringify({ history: Array.from({ length: 200_000 }, () => 'abc'), mcpServers: {} });
  const added = edited(JSON_FORMAT, text, SLOT, { kind: 'add', entry: ENTRY }, '/f');
  expect(JSON.parse(added).mcpServers).toEqual({ notion: ENTRY });
});

test('removes the tables below an entry wherever they stand', () => {
  const text = `[mcp_servers.notion]\ncommand = "holdfast"\n\n[a]\nb = 1\n\n[mcp_servers.notion.tools.x]\nenabled = true\n`;
  const removed = edited(TOML_FORMAT, text, toml('').slot, { kind: 'remove' }, '/f');
  expect(TOML_FORMAT.parse(removed)).toEqual({ a: { b: 1 } });
});

describe('files that cannot be edited in one place', () => {
  test.each([
    ['JSON that holds a list', JSON_FORMAT, '[]', SLOT],
    ['servers that are no object', JSON_FORMAT, '{"mcpServers": []}', SLOT],
    [
      'TOML with the servers on one line',
      TOML_FORMAT,
      'mcp_servers = { a = { command = "x" } }\n',
      toml('').slot,
    ],
    ['YAML without agents', YAML_FORMAT, 'models: {}\n', yaml('', 0).slot],
    [
      'YAML with a list from elsewhere',
      YAML_FORMAT,
      'x: &x [{type: think}]\nagents:\n  root:\n    toolsets: *x\n',
      yaml('', 1).slot,
    ],
    ['YAML of several documents', YAML_FORMAT, 'agents:\n  root: {}\n---\na: 1\n', yaml('', 0).slot],
    ['an agent on one line', YAML_FORMAT, 'agents:\n  root: {model: x}\n', yaml('', 0).slot],
    [
      'a text that keeps its last blank lines',
      YAML_FORMAT,
      'agents:\n  root:\n    toolsets:\n      - instruction: |+\n          a\n\n\n    model: x\n',
      yaml('', 1).slot,
    ],
  ])('leaves %s unchanged', (_, format, text, slot) => {
    expect(() => edited(format, text, slot, { kind: 'add', entry: TOOLSET }, '/f')).toThrow(/left as it is/);
  });
});

describe('syntax errors', () => {
  test.each([
    ['JSON', JSON_FORMAT, '{\n  "a": 1\n  "b": 2\n}', 'line 3, column 3'],
    ['JSON that ends too early', JSON_FORMAT, '{\n  "a": [1,', 'line 2, column 11'],
    ['TOML', TOML_FORMAT, 'a = 1\nb = = 2\n', 'line 2, column 5'],
    ['YAML', YAML_FORMAT, 'a: 1\nb: [1, 2\nc: 3\n', 'line 3, column 1'],
  ])('names the line and column of an error in %s', (_, format, text, place) => {
    expect(() => valuesOf(format, text, '/f')).toThrow(
      `/f is not ${format.name}: ${place}. Nothing was touched.`,
    );
  });
});

test('restores the values and comments of any JSON, in any layout', () => {
  const key = fc.string({ maxLength: 6 }).filter((name) => name !== '__proto__' && name !== 'notion');
  const server = fc.dictionary(key, fc.jsonValue({ maxDepth: 2 }), { minKeys: 0, maxKeys: 3 });
  const file = fc.record({
    before: fc.dictionary(key, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }),
    servers: fc.option(fc.dictionary(key, server, { minKeys: 1, maxKeys: 3 }), { nil: undefined }),
    after: fc.dictionary(key, fc.jsonValue({ maxDepth: 2 }), { minKeys: 0, maxKeys: 2 }),
    indent: fc.constantFrom('', ' ', '  ', '\t', '    '),
    crlf: fc.boolean(),
    comment: fc.constantFrom('', ' // {,}"', ' /* , */'),
  });
  fc.assert(
    fc.property(file, ({ before, servers, after, indent, crlf, comment }) => {
      const { mcpServers: _ignored, ...others } = before;
      const values = { ...others, ...(servers && { mcpServers: servers }), ...after };
      const plain = JSON.stringify(values, null, indent);
      // Comments go after a line end of the layout: a JSON string has no line ends.
      const commented = indent === '' ? plain : plain.replaceAll(/\n/g, `${comment}\n`);
      const text = crlf ? commented.replaceAll('\n', '\r\n') : commented;
      const slot = { holder: ['mcpServers'], key: 'notion' };
      const add = () => edited(JSON_FORMAT, text, slot, { kind: 'add', entry: ENTRY }, '/f');
      if (Object.hasOwn(after, 'mcpServers')) return;
      const added = add();
      expect(isWithin(text, added)).toBe(true);
      const removed = edited(JSON_FORMAT, added, slot, { kind: 'remove' }, '/f');
      // In a file of its own, the empty object of servers stays, since clients begin with one.
      if (Object.keys(values).length > 0) {
        expect(meaning(JSON_FORMAT, removed)).toEqual(meaning(JSON_FORMAT, text));
      }
    }),
    { numRuns: 500 },
  );
});
