import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findLogins } from '../../src/import/move.ts';
import { sourceNamed } from '../../src/import/sources.ts';
import { processEnvironment } from '../../src/system/environment.ts';
import { temporaryDirectory } from '../support/homes/home.ts';

/* The contents of a file after one login is removed; no request is sent. */

const A = 'https://a.example/mcp';

async function takenFrom(id: string, text: string): Promise<string> {
  const file = join(await temporaryDirectory(), 'peer-file');
  await writeFile(file, text);
  const configured = async () => [{ client: 'goose', name: 'a', url: A, args: [] }];
  const context = { environment: processEnvironment(), file, urls: [A], configured };
  const { logins } = await findLogins(sourceNamed(id), context);
  expect(logins).toHaveLength(1);
  expect(await logins[0]?.take()).toBe('taken');
  expect(await logins[0]?.take()).toBe('gone');
  return readFile(file, 'utf8');
}

const entry = (url: string) => `{"server_url": "${url}", "access_token": "t", "client_id": "c"}`;

describe('a JSON file', () => {
  test.each([
    ['alone', `{"a|1": ${entry(A)}}\n`, '{}\n'],
    ['first', `{\n\t"a|1": ${entry(A)},\n\t"b": 1\n}\n`, '{\n\t"b": 1\n}\n'],
    ['last', `{\r\n  "b": 1,\r\n  "a|1": ${entry(A)}\r\n}`, '{\r\n  "b": 1\r\n}'],
    ['amid others', `{"b":1,"a|1":${entry(A)},"c":[1e3, "\\u00e9"]}`, '{"b":1,"c":[1e3, "\\u00e9"]}'],
  ])('removes a login %s from JSON', async (_, before, after) => {
    expect(await takenFrom('codex', before)).toBe(after);
  });

  test('keeps the user’s comments in JSON', async () => {
    const oauth = '"oauth": {"tokens": {"access_token": "t"}, "redirectUrl": "x"}';
    const text = `{ // mine\n "mcpServers": {"a": {"url": "${A}", /* why */ ${oauth}}},\n}`;
    expect(await takenFrom('cline', text)).toBe(text.replace('"tokens": {"access_token": "t"}, ', ''));
  });
});

describe('a YAML file', () => {
  const login = 'oauth_creds_a:\n  client_id: c\n  token_response:\n    access_token: t\n';
  test.each([
    ['alone', login, '{}\n'],
    ['first', `${login}# of b\nB: 'x'\n`, "# of b\nB: 'x'\n"],
    ['last', `B: |\n  two\n  lines\n${login}`, 'B: |\n  two\n  lines\n'],
    [
      'as a text of JSON',
      `B: 1\noauth_creds_a: '{"token_response":{"access_token":"t"}}'\nC: 2\n`,
      'B: 1\nC: 2\n',
    ],
  ])('removes a login %s from YAML', async (_, before, after) => {
    expect(await takenFrom('goose', before)).toBe(after);
  });
});
