import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { expect, test } from 'vitest';
import { StoreWrappedItems } from '../../src/credentials/sealed/store-wrapped-items.ts';
import { resolveKeyrings } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { requirement } from '../support/requirement.ts';

const DOCS = await readFile(new URL('../../docs/fleet.md', import.meta.url), 'utf8');
const EXPORTS = [...DOCS.matchAll(/^export HOLDFAST_SEALING_KEY_COMMAND=.*$/gm)].map(([line]) => line);
const KEY = randomBytes(32);

/** The words that each CLI documents, and what it prints for them: the secret's text, or base64 of the plaintext. */
const PRINTED: Readonly<Record<string, string>> = {
  'aws secretsmanager get-secret-value': `${KEY.toString('base64url')}\n`,
  'gcloud secrets versions access latest': `${KEY.toString('base64url')}\n`,
  'az keyvault secret show': `${KEY.toString('base64url')}\n`,
  'vault kv get': KEY.toString('base64url'),
  'op read op://VAULT/holdfast/sealing-key': `${KEY.toString('base64url')}\n`,
  'aws kms decrypt': `${KEY.toString('base64')}\n`,
  'gcloud kms decrypt': `${KEY.toString('base64url')}\n`,
  'vault write -field=plaintext transit/decrypt/holdfast': KEY.toString('base64'),
};

const SHELL = requirement(
  'a stand-in is a shell script, which Windows cannot run',
  process.platform !== 'win32',
);

/** The kid of the key that these variables give. */
async function kidWith(changes: Record<string, string>): Promise<string> {
  const { environment, layout } = await temporaryHome();
  const own = { ...environment, variables: { ...environment.variables, ...changes } };
  const keyrings = resolveKeyrings(own, layout, { wrapped: () => new StoreWrappedItems(new MemoryStore()) });
  return (await new SealingKeys(keyrings, layout, own).strongest()).kid;
}

test.skipIf(SHELL).each(EXPORTS)('gets the sealing key by the command of docs/fleet.md: %s', async (line) => {
  const command = execFileSync('sh', ['-c', `${line}\nprintf %s "$HOLDFAST_SEALING_KEY_COMMAND"`], {
    encoding: 'utf8',
  });
  const words = Object.keys(PRINTED).find((start) => `${command} `.startsWith(`${start} `));
  const [program = '', ...start] = words?.split(' ') ?? [];
  const bin = await temporaryDirectory();
  const script = `#!/bin/sh
case "$*" in
  '${start.join(' ')}'*) printf '%s' '${PRINTED[words ?? '']}' ;;
  *) exit 2 ;;
esac
`;
  await writeFile(join(bin, program), script);
  await chmod(join(bin, program), 0o755);
  const path = `${bin}${delimiter}${process.env['PATH']}`;
  const kid = await kidWith({ HOLDFAST_SEALING_KEY_COMMAND: command, PATH: path });
  expect(kid).toBe(await kidWith({ HOLDFAST_SEALING_KEY: KEY.toString('base64url') }));
});

test('shows a command for each service', () => {
  expect(EXPORTS).toHaveLength(Object.keys(PRINTED).length);
});
