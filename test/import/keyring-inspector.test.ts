import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { findLogins } from '../../src/import/move.ts';
import type { FoundLogin, SourceContext } from '../../src/import/source.ts';
import { sourceNamed } from '../../src/import/sources.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';

/* `secrets.json` as the Inspector 2.12.0 encrypted it. */

const FIXTURE = fileURLToPath(
  new URL('../fixtures/peers/inspector-encrypted/.mcp-inspector/secrets.json', import.meta.url),
);
const PASSPHRASE = 'a passphrase of the test';
const INSPECTOR = sourceNamed('inspector');

async function placeWith(variables: Readonly<Record<string, string>>) {
  const { environment } = await temporaryHome();
  const homeDirectory = await temporaryDirectory();
  const file = join(homeDirectory, '.mcp-inspector', 'secrets.json');
  await mkdir(dirname(file));
  await copyFile(FIXTURE, file);
  const context: SourceContext = {
    environment: { ...environment, homeDirectory, variables },
    file: undefined,
    urls: [],
    configured: async () => [],
  };
  return { file, context, homeDirectory };
}

async function reasonsAt(context: SourceContext): Promise<readonly string[]> {
  const { logins, skipped } = await findLogins(INSPECTOR, context);
  expect(logins).toEqual([]);
  return skipped.map(({ reason }) => reason);
}

describe('the Inspector’s encrypted file', () => {
  test('opens with its passphrase, and one login leaves it', async () => {
    const { file, context } = await placeWith({ MCP_INSPECTOR_SECRET_KEY: PASSPHRASE });
    const before = await readFile(file, 'utf8');
    const { logins } = await findLogins(INSPECTOR, context);
    expect(logins.map(({ login }) => login.resource).toSorted()).toEqual([
      'https://mcp.example.com/mcp',
      'https://other.example/mcp',
    ]);
    const found = logins.find(({ login }) => login.resource.includes('mcp.example')) as FoundLogin;
    expect(found.login.refreshToken?.reveal()).toBe('sealed-refresh');
    expect(await found.take()).toBe('taken');

    const after = await readFile(file, 'utf8');
    expect(JSON.parse(after)).toMatchObject({ version: 1, encryption: 'aes-256-gcm', kdf: { N: 16_384 } });
    expect(saltIn(after)).not.toBe(saltIn(before));
    const left = await findLogins(INSPECTOR, context);
    expect(left.logins.map(({ login }) => login.refreshToken?.reveal())).toEqual(['other-refresh']);
  });

  test('opens with the passphrase in a file, without its line end', async () => {
    const variables: Record<string, string> = {};
    const { context, homeDirectory } = await placeWith(variables);
    variables['MCP_INSPECTOR_SECRET_KEY_FILE'] = join(homeDirectory, 'key');
    await writeFile(join(homeDirectory, 'key'), `${PASSPHRASE}\n`, { mode: 0o600 });
    expect((await findLogins(INSPECTOR, context)).logins).toHaveLength(2);
    await rm(join(homeDirectory, 'key'));
    expect(await reasonsAt(context)).toEqual([expect.stringContaining('empty, or not there')]);
  });

  test('says why it does not open: no passphrase, a wrong one, or two', async () => {
    const said = async (variables: Readonly<Record<string, string>>) =>
      reasonsAt((await placeWith(variables)).context);
    expect(await said({})).toEqual([expect.stringContaining('set MCP_INSPECTOR_SECRET_KEY')]);
    expect(await said({ MCP_INSPECTOR_SECRET_KEY: 'another' })).toEqual([
      expect.stringContaining('the passphrase does not open it'),
    ]);
    const both = { MCP_INSPECTOR_SECRET_KEY: 'a', MCP_INSPECTOR_SECRET_KEY_FILE: 'b' };
    expect(await said(both)).toEqual([expect.stringContaining('unset one')]);
  });

  test('refuses a key derivation more costly than the Inspector’s own', async () => {
    const { file, context } = await placeWith({ MCP_INSPECTOR_SECRET_KEY: PASSPHRASE });
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('"N": 16384', '"N": 1073741824'));
    expect(await reasonsAt(context)).toEqual([expect.stringContaining('is not what that program writes')]);
    expect(await readFile(file, 'utf8')).toContain('1073741824');
  });
});

function saltIn(text: string): unknown {
  return (JSON.parse(text) as { kdf: { salt: string } }).kdf.salt;
}
