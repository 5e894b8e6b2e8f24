import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { valuesOf } from '../../src/configure/edit.ts';
import { formatOf } from '../../src/configure/open-format.ts';
import { JSON_CODEC } from '../../src/import/source-file.ts';
import { jsonIn } from '../../src/import/source-keyring.ts';
import { ownHeaders } from '../../src/proxy/upstream/own-headers.ts';
import { postgresError } from '../../src/store/postgres/errors.ts';
import { redisAddress } from '../../src/store/redis/address.ts';
import { ownVariables, processEnvironment } from '../../src/system/environment.ts';
import { readSecret } from '../../src/system/files/secret-file.ts';
import { withoutSecrets } from '../../src/system/processes/secret-variables.ts';
import { plainCopy } from '../../src/values/plain-values.ts';

/* No file reaches `Object.prototype`, and no lookup uses it. */

const NAMES = ['__proto__', 'constructor', 'prototype'];

const HOSTILE: Readonly<Record<'JSON' | 'TOML' | 'YAML', (name: string) => readonly string[]>> = {
  JSON: (name) => [
    `{"${name}": {"polluted": 1}}`,
    `{"mcpServers": {"${name}": {"polluted": 1}}}`,
    `{"a": [{"${name}": {"polluted": 1}}]}`,
    `{ /* one */ "\\u${name.charCodeAt(0).toString(16).padStart(4, '0')}${name.slice(1)}": {"polluted": 1}, }`,
  ],
  TOML: (name) => [
    `[${name}]\npolluted = 1\n`,
    `[[${name}]]\npolluted = 1\n`,
    `[mcp_servers.${name}]\npolluted = 1\n`,
    `[[mcp_servers.${name}]]\npolluted = 1\n`,
    `["${name}"]\npolluted = 1\n`,
    `['${name}'.x]\npolluted = 1\n`,
    `${name}.polluted = 1\n`,
    `a.${name}.polluted = 1\n`,
    `${name} = { polluted = 1 }\n`,
    `a = { ${name} = { polluted = 1 } }\n`,
    `a = { ${name}.polluted = 1 }\n`,
    `a = [ { ${name}.polluted = 1 } ]\n`,
    `[[a]]\n[a.${name}]\npolluted = 1\n`,
  ],
  YAML: (name) => [
    `${name}:\n  polluted: 1\n`,
    `agents: {${name}: {polluted: 1}}\n`,
    `a: &a {polluted: 1}\n${name}: *a\n`,
    `list:\n  - ${name}: {polluted: 1}\n`,
    `? {${name}: {polluted: 1}}\n: 1\n`,
    `? !!str ${name}\n: {polluted: 1}\n`,
  ],
};

describe.each(['JSON', 'TOML', 'YAML'] as const)('a file of %s', (name) => {
  test.each(NAMES.flatMap((key) => HOSTILE[name](key).map((text) => ({ key, text }))))(
    'refuses a hostile key by its name, and pollutes nothing: $text',
    async ({ key, text }) => {
      const format = await formatOf(name);
      expect(() => valuesOf(format, text, '/repo/config')).toThrow(
        `/repo/config was left as it is: it has a key called "${key}", which no program needs.`,
      );
      expect('polluted' in {}).toBe(false);
    },
  );

  test('parses to objects without a prototype', async () => {
    const text = { JSON: '{"a": {"b": [{}]}}', TOML: 'a.b = [{}]', YAML: 'a: {b: [{}]}' }[name];
    const values = (await formatOf(name)).parse(text) as { a: { b: [object] } };
    for (const object of [values, values.a, values.a.b[0]]) expect(Object.getPrototypeOf(object)).toBe(null);
  });

  test.each([
    ['deep lists', 'a = ' + '['.repeat(50_000), '{"a": ' + '['.repeat(50_000), 'a: ' + '['.repeat(50_000)],
    [
      'deep objects',
      `a = ${'{a='.repeat(300)}1${'}'.repeat(300)}`,
      `${'{"a":'.repeat(300)}1${'}'.repeat(300)}`,
      `a: ${'{a: '.repeat(300)}1${'}'.repeat(300)}`,
    ],
    [
      'deep names',
      `${'a.'.repeat(300)}a = 1`,
      `${'{"a":'.repeat(300)}1${'}'.repeat(300)}`,
      'a: ' + '['.repeat(50_000),
    ],
  ])('refuses %s without exhausting the stack', async (_, toml, json, yaml) => {
    const format = await formatOf(name);
    const text = { JSON: json, TOML: toml, YAML: yaml }[name];
    expect(() => valuesOf(format, text, '/f')).toThrow(/^\/f (was left as it is: .*deeply|is not )/);
  });
});

test.each([
  ['TOML', 'k = 1\n'],
  ['YAML', 'k: 1\n'],
] as const)('refuses a file of %s that is far too large before parsing it', async (name, line) => {
  const format = await formatOf(name);
  expect(() => valuesOf(format, line.repeat(100_000), '/f')).toThrow('it has more than 262144 characters');
});

/** V8 aborts the process when it compiles a regular expression on an almost full stack. */
test.each(['- ', '? ', '[', '{a: ', 'a: {', '<<: ', '- - ? '])(
  'refuses YAML that nests "%s" at every depth without a crash',
  async (unit) => {
    const format = await formatOf('YAML');
    for (let depth = 1_000; depth < 6_000; depth += 250) {
      expect(() => valuesOf(format, unit.repeat(depth), '/f')).toThrow(
        /^\/f (was left as it is: .*deeply|is not )/,
      );
    }
  },
);

test.each(['}', '[]', '"', '%\n', '*a ', '!x ', 'a: \n', '- a\n'])(
  'refuses YAML of 64 KiB of "%s" in time',
  async (unit) => {
    const format = await formatOf('YAML');
    const text = unit.repeat(65_536 / unit.length);
    // If the time grew with the square of the length, this test would time out.
    expect(() => valuesOf(format, text, '/f')).toThrow(/^\/f /);
  },
);

test.each(['a: &a [*a]', '&a [*a]', 'a: &a {b: {c: *a}}'])(
  'refuses YAML in which "%s" contains itself',
  async (text) => {
    const format = await formatOf('YAML');
    expect(() => valuesOf(format, text, '/f')).toThrow(
      '/f was left as it is: one of its values contains itself.',
    );
  },
);

test('resolves a YAML alias to a second copy of the value', async () => {
  const format = await formatOf('YAML');
  expect(valuesOf(format, 'a: &a [1]\nb: *a', '/f')).toEqual({ a: [1], b: [1] });
});

test('refuses YAML whose aliases expand without end', async () => {
  const lines = ['a: &a [x,x,x,x,x,x,x,x,x,x]'];
  for (const [at, name] of 'bcdefghij'.split('').entries()) {
    lines.push(`${name}: &${name} [${Array(10).fill(`*${'abcdefghij'[at]}`).join(',')}]`);
  }
  const format = await formatOf('YAML');
  expect(() => valuesOf(format, lines.join('\n'), '/f')).toThrow('its aliases expand without end');
});

describe('JSON that another program has stored', () => {
  test.each(NAMES)('refuses the key %s in a file and in a keyring', (key) => {
    for (const text of [`{"${key}": 1}`, `{"a": {"${key}": 1},}`]) {
      // The parser makes objects in which the key is an ordinary name; the file reader refuses it.
      expect(Object.getPrototypeOf(JSON_CODEC.parse(text))).toBe(null);
      expect(() => plainCopy(JSON_CODEC.parse(text))).toThrow(key);
    }
    expect(jsonIn(`{"a": [{"${key}": 1}]}`)).toBeUndefined();
  });
});

describe('the environment', () => {
  test('copies the environment into a frozen object that inherits nothing', () => {
    const { variables } = processEnvironment();
    expect(Object.getPrototypeOf(variables)).toBe(null);
    expect(Object.isFrozen(variables)).toBe(true);
    expect(variables['PATH']).toBe(process.env['PATH']);
  });

  test('takes no variable from a polluted prototype, for us and for child processes', () => {
    const name = 'HOLDFAST_SEALING_KEY_COMMAND';
    Object.defineProperty(Object.prototype, name, {
      value: 'id',
      configurable: true,
      enumerable: true,
      writable: true,
    });
    onTestFinished(() => void Reflect.deleteProperty(Object.prototype, name));
    const { variables } = processEnvironment();
    expect(variables[name]).toBeUndefined();
    const given = withoutSecrets({ PATH: '/bin' });
    expect(name in given).toBe(false);
  });

  test('finds a name in any case on Windows, and lists it once', () => {
    const variables = ownVariables({ Path: 'C:\\' }, 'win32');
    expect(variables['PATH']).toBe('C:\\');
    expect(Object.keys(variables)).toEqual(['Path']);
  });

  test('returns no secret under a name that every object has', async () => {
    const environment = { ...processEnvironment(), variables: { PATH: '/bin' } };
    for (const variable of ['constructor', '__proto__', 'toString']) {
      await expect(readSecret({ variable }, environment)).rejects.toThrow('is not set');
      expect(() => ownHeaders([`X-A: \${${variable}}`], environment.variables)).toThrow('is not set');
    }
  });
});

test.each(['constructor', 'toString', '__proto__', 'hasOwnProperty'])(
  'treats %s as no code of PostgreSQL and no setting of Redis',
  (name) => {
    const error = Object.assign(new Error('no'), { code: name });
    expect(postgresError(error, 'db').code).toBe('store-unreachable');
    expect(() => redisAddress(`redis://h/?${name}=1`, {})).toThrow('a setting that is not known');
  },
);

describe('the sources', () => {
  /** Functions that build objects from foreign text, and the files that may call them. */
  const BUILDERS: readonly (readonly [what: RegExp, where: RegExp])[] = [
    [/\bgetStaticTOMLValue\b/, /^$/],
    [/\bgetNodeValue\b/, /^$/],
    [/import \{[^}]*\bparse\b[^}]*\} from '(jsonc-parser|yaml)'/, /^$/],
    [/\.toJS\((?!options\)|document, options\))/, /^$/],
    [/\.toJSON\(\)/, /^$/],
    [/\bprocess\.env\b/, /^system\/environment\.ts$/],
    [/\bObject\.prototype\b/, /^cli\/closed-prototypes\.ts$/],
  ];
  /** Readers of other programs' and the user's files, which must not use the engine's parser alone. */
  const FOREIGN = /^(configure|import|cli)\/|^system\/settings-file\.ts$/;

  test('finds no parser’s own builder in the sources, and process.env in one file only', async () => {
    const found: string[] = [];
    const root = join(import.meta.dirname, '../../src');
    for (const path of await readdir(root, { recursive: true })) {
      if (!path.endsWith('.ts')) continue;
      const code = (await readFile(join(root, path), 'utf8')).replaceAll(/^\s*(\/\/|\/?\*).*$/gm, '');
      const name = path.replaceAll('\\', '/');
      for (const [what, where] of BUILDERS)
        if (what.test(code) && !where.test(name)) found.push(`${name}: ${what}`);
      if (
        FOREIGN.test(name) &&
        /JSON\.parse\(text\)/.test(code) &&
        name !== 'system/files/settings-file.ts'
      ) {
        found.push(`${name}: JSON.parse`);
      }
    }
    expect(found).toEqual([]);
  });
});
