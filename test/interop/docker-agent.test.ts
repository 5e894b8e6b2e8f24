import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import {
  BUILD_MS,
  buildWitness,
  dockerAgentParts,
  fixtureAt,
  NO_WITNESS,
  witness,
} from '../support/homes/docker-agent.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { runScript, start } from '../support/processes/process.ts';

/* docker-agent's file tier, read and written by a second implementation that shares no code with ours (witness.go). */

describe.skipIf(NO_WITNESS)('the Go implementation of docker-agent’s formats', () => {
  let built: string;
  let program: string;
  beforeAll(async () => {
    built = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
    program = await buildWitness(built);
  }, BUILD_MS);
  afterAll(() => rm(built, { recursive: true }));

  async function place() {
    const { path, environment } = await temporaryHome();
    const directory = join(path, '..', 'cagent');
    return { directory, environment, parts: () => dockerAgentParts(directory, environment) };
  }

  test('reads a login that Holdfast made, in files that Holdfast made', async () => {
    const { directory, parts } = await place();
    const { credentialStore, keys } = parts();
    const resource = 'https://mcp.example/mcp?a=<&>é';
    const name = CredentialId.of(resource, undefined);
    const credential = sampleCredential(name.resource);
    await credentialStore.save(await keys.strongest(), name, () => credential);
    const unlimited = sampleCredential('https://forever.example', {
      tokens: { accessToken: credential.tokens.accessToken, tokenType: 'Bearer', obtainedAt: 0 },
    });
    await credentialStore.save(
      await keys.strongest(),
      CredentialId.of(unlimited.resource, undefined),
      () => unlimited,
    );
    expect(JSON.parse(witness(program, directory, 'read'))).toEqual({
      [name.resource]: {
        access_token: credential.tokens.accessToken.reveal(),
        token_type: 'Bearer',
        expires_in: 3600,
        refresh_token: credential.tokens.refreshToken?.reveal(),
        scope: 'read',
        expires_at: goTime(credential.tokens.expiresAt ?? 0),
        client_id: 'a client',
        client_secret: credential.client.clientSecret?.reveal(),
        auth_server: 'https://as.example',
        requested_scopes: ['read', 'write'],
      },
      'https://forever.example': expect.objectContaining({ expires_at: '0001-01-01T00:00:00Z' }),
    });
  });

  test('makes files that Holdfast reads, writes, and leaves readable', async () => {
    const { directory, parts } = await place();
    const entry = {
      access_token: 'theirs',
      token_type: 'bearer',
      expires_at: '2031-01-02T03:04:05.123456789+01:30',
    };
    witness(program, directory, 'put', 'https://theirs.example/mcp', JSON.stringify(entry));
    const { credentialStore, keys } = parts();
    const found = await credentialStore.find(CredentialId.of('https://theirs.example/mcp', undefined));
    expect(found?.held.credential).toMatchObject({
      tokens: { tokenType: 'Bearer', expiresAt: Date.UTC(2031, 0, 2, 1, 34, 5, 123) },
    });
    expect(found?.held.credential.tokens.accessToken.reveal()).toBe('theirs');
    await credentialStore.save(
      await keys.strongest(),
      CredentialId.of('https://ours.example', undefined),
      (generation) => sampleCredential('https://ours.example', { generation }),
    );
    const bundle = JSON.parse(witness(program, directory, 'read'));
    expect(bundle['https://theirs.example/mcp']).toEqual(entry);
    witness(program, directory, 'remove', 'https://ours.example');
    expect(
      await parts().credentialStore.find(CredentialId.of('https://ours.example', undefined)),
    ).toBeUndefined();
  });

  test('reads the same logins as Holdfast from files of docker-agent itself', async () => {
    const { directory, parts } = await place();
    await fixtureAt(directory);
    const bundle: Record<string, { access_token: string }> = JSON.parse(witness(program, directory, 'read'));
    const { held } = await parts().credentialStore.list();
    expect(
      Object.fromEntries(
        held.map(({ credential }) => [credential.resource, credential.tokens.accessToken.reveal()]),
      ),
    ).toEqual(Object.fromEntries(Object.entries(bundle).map(([url, entry]) => [url, entry.access_token])));
  });

  test('loses nothing when it and Holdfast write 100 times each at once', async () => {
    const { directory, parts } = await place();
    await fixtureAt(directory);
    const theirs = start(program, [directory, 'storm', 'https://theirs.example/', '100']);
    const ours = runScript('docker-agent-process.ts', [directory, 'keep', 'https://ours.example/', '100']);
    const [{ code, err }] = await Promise.all([theirs.ended, ours]);
    expect([code, err]).toEqual([0, '']);
    const bundle: Record<string, unknown> = JSON.parse(witness(program, directory, 'read'));
    expect(Object.keys(bundle)).toHaveLength(203);
    expect((await parts().credentialStore.list()).held).toHaveLength(203);
  });

  test('writes the older layout, which Holdfast moves into the file and removes', async () => {
    const { directory, parts } = await place();
    const bundle = { 'https://old.example/mcp': { access_token: 'old', expires_at: '0001-01-01T00:00:00Z' } };
    witness(program, directory, 'old', JSON.stringify(bundle));
    const found = await parts().credentialStore.find(CredentialId.of('https://old.example/mcp', undefined));
    expect(found?.held.credential.tokens.accessToken.reveal()).toBe('old');
    expect(JSON.parse(witness(program, directory, 'read'))).toMatchObject(bundle);
    expect(await readdir(join(directory, 'mcp-oauth-keyring'))).toEqual([
      'oauth:encryption-key',
      'passphrase',
    ]);
  });
});

/** Returns the time as Go prints it: without the zeros at the end of the fraction. */
function goTime(ms: number): string {
  return new Date(ms).toISOString().replace(/\.?0+Z$/, 'Z');
}
