import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import * as ours from '../../src/errors.ts';
import { secretsSeen } from '../support/leaks.ts';

const SECRET = 'rt-3Zq8mLw0pXv7';

/** Each error keeps a secret in the way that a library of this package does, or did. */
const FOREIGN: Record<string, () => unknown> = {
  'Node’s HTTP parser keeps the packet': () =>
    Object.assign(new Error('Parse Error: Invalid character in chunk size'), {
      code: 'HPE_INVALID_CHUNK_SIZE',
      rawPacket: Buffer.from(`{"refresh_token":"${SECRET}"}`),
    }),
  'JSON.parse quotes its input': () => {
    try {
      return JSON.parse(`${SECRET} `);
    } catch (error) {
      return error;
    }
  },
  'a client of Redis keeps the command': () =>
    Object.assign(new Error('WRONGPASS invalid username-password pair'), {
      name: 'ReplyError',
      command: { name: 'auth', args: ['holdfast', SECRET] },
    }),
  'a client of PostgreSQL keeps the row': () =>
    Object.assign(new Error(`invalid input syntax: "${SECRET}"`), {
      code: '22P02',
      detail: `Failing row contains (${SECRET}).`,
      where: SECRET,
    }),
  'a cloud’s library keeps its request, deep down': () =>
    Object.assign(new Error(`Error code invalid_grant: ${SECRET}`, { cause: new Error(SECRET) }), {
      code: SECRET,
      config: { data: { params: { subject_token: SECRET } } },
      response: { config: { headers: new Map([['authorization', SECRET]]) } },
    }),
  'Node quotes an argument': () =>
    Object.assign(new TypeError(`The argument must be one of … Received '${SECRET}'`), {
      code: 'ERR_INVALID_ARG_VALUE',
    }),
  'a name is the secret': () => Object.assign(new Error(), { name: SECRET, code: 'EPIPE' }),
  'the message is the secret and has lines that look like a stack': () =>
    new Error(`first\n    at ${SECRET}:1:1`),
  'the message was changed after it was thrown': () =>
    Object.assign(new Error(`${SECRET}\n    at ${SECRET}:1:1`), { message: 'other' }),
  'one of several holds it': () =>
    new AggregateError([Object.assign(new Error(SECRET), { rawPacket: Buffer.from(SECRET) })], SECRET),
  'what was thrown is text': () => SECRET,
  'what was thrown is an object': () => ({ message: SECRET, toString: () => SECRET }),
};

type Known = new (message: string, options: { cause?: unknown; error?: string }) => ours.HoldfastError;

const CLASSES = Object.entries(ours).filter(
  ([name, value]) => typeof value === 'function' && /^[A-Z]/.test(name) && name !== 'HoldfastError',
) as unknown as [string, Known][];

describe('the cause of an error', () => {
  test.each(Object.entries(FOREIGN))('keeps no secret in the cause of an error when %s', (_, make) => {
    expect(CLASSES.length).toBeGreaterThan(40);
    for (const [, Known] of CLASSES) {
      const inner = new Known('It failed.', { cause: make(), error: 'invalid_grant' });
      const error = new Known('It failed in turn.', { cause: inner, error: 'invalid_grant' });
      expect(secretsSeen(error, [SECRET])).toBe(0);
      expect(error.cause).toBe(inner);
    }
  });

  test('keeps the code and the message of a Node system error in the cause', () => {
    const cause = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1\u001b[2J'), {
      code: 'ECONNREFUSED',
      syscall: 'connect',
    });
    const error = new ours.NetworkError('It failed.', { cause });
    expect(error.cause).toMatchObject({
      name: 'Error',
      code: 'ECONNREFUSED',
      message: 'connect ECONNREFUSED 127.0.0.1:1 [2J',
    });
    expect((error.cause as Error).stack).toContain('error-causes.test.ts');
  });

  test('takes the first of several connection errors as the cause', () => {
    const first = Object.assign(new Error('connect ECONNREFUSED ::1:1'), { code: 'ECONNREFUSED' });
    const error = new ours.NetworkError('It failed.', { cause: new AggregateError([first], '') });
    expect(error.cause).toMatchObject({ code: 'ECONNREFUSED', message: 'connect ECONNREFUSED ::1:1' });
  });

  test('passes a cause only to errors whose constructor filters it', async () => {
    const sources = fileURLToPath(new URL('../../src', import.meta.url));
    const files = (await readdir(sources, { recursive: true })).filter((name) => name.endsWith('.ts'));
    const wrong: string[] = [];
    for (const file of files) {
      const text = await readFile(join(sources, file), 'utf8');
      // No constructor filters the cause of a built-in error class, or a cause that is assigned later.
      const made = /new (?:\w*Error|DOMException)\((?:[^()]|\([^()]*\))*\bcause\b/g;
      for (const [expression] of text.matchAll(made)) {
        const name = /new (\w+)/.exec(expression)?.[1] ?? '';
        if (!Object.hasOwn(ours, name) && !extendsOurs(text, name)) wrong.push(`${file}: ${expression}`);
      }
      if (/\.cause\s*=[^=]/.test(text)) wrong.push(`${file} assigns a cause`);
      for (const [, body = ''] of text.matchAll(/class \w+ extends Error \{([\s\S]*?)\n\}/g)) {
        const [given = ''] = /super\([^;]*\);/.exec(body) ?? [];
        if (/\bcause\b/.test(given) && !given.includes('keptCause(')) wrong.push(`${file} passes a cause on`);
      }
    }
    expect(files.length).toBeGreaterThan(200);
    expect(wrong).toEqual([]);
  });
});

function extendsOurs(text: string, name: string): boolean {
  const base = new RegExp(`class ${name} extends (\\w+)`).exec(text)?.[1];
  return base !== undefined && Object.hasOwn(ours, base);
}
