import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Credential } from '../../src/credential.ts';
import { parseCredential, serializeCredential } from '../../src/credential-record.ts';
import { sealBlob } from '../../src/handover/blob.ts';
import { parseCode } from '../../src/handover/code.ts';
import { findLogins, moveLogin } from '../../src/import/move.ts';
import { Secret } from '../../src/secret.ts';
import { peerHome } from '../import/peer-home.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { stored, vaultAt } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/*
 * `anyone`: tokens may go to servers that other users of this machine run. Only the user may allow that, by --lenient
 * other-local-users or in config.json. The author of a blob, an export or another program's file may not.
 */

const RESOURCE = 'https://mcp.example/mcp';

/** Both ways to write that permission into a record, with the leniency of a login that the user made. */
const CLAIMS: readonly [string, object][] = [
  ['reach', { reach: 'anyone' }],
  ['otherLocalUsers', { reach: 'anywhere', otherLocalUsers: true }],
];

function claiming(claims: object): string {
  const plain = JSON.parse(Buffer.from(serializeCredential(sampleCredential(RESOURCE))).toString('utf8'));
  return JSON.stringify({
    ...plain,
    server: { ...plain.server, ...claims },
    leniencies: ['other-local-users', 'private-addresses'],
  });
}

/** A home whose user allows private addresses, which is another permission. */
async function home() {
  const made = await temporaryHome();
  const { vault } = vaultAt(made);
  const code = parseCode((await vault.transfer.invite()).code);
  await writeFile(
    join(made.path, 'config.json'),
    JSON.stringify({ servers: { [RESOURCE]: { lenient: { privateAddresses: true } } } }),
    { mode: 0o600 },
  );
  return { made, vault, code };
}

describe.each(CLAIMS)('a login whose sender writes "%s" into it', (_, claims) => {
  test('a login handed over does not reach other users’ servers', async () => {
    const { made, vault, code } = await home();
    const about = {
      resource: RESOURCE,
      account: 'default',
      mode: 'move',
      expiresAt: Date.now() + 60_000,
    } as const;
    await vault.transfer.receive(await sealBlob(code, about, Buffer.from(claiming(claims))));
    expect((await stored(made, RESOURCE)).credential.server.reach).toBe('anywhere');
  });

  test('an imported login does not reach other users’ servers', async () => {
    const { made, vault } = await home();
    const exported = JSON.stringify({ format: 'holdfast-login', ...JSON.parse(claiming(claims)) });
    await vault.transfer.importExported(new Secret(exported));
    expect((await stored(made, RESOURCE)).credential.server.reach).toBe('anywhere');
  });
});

describe('a login in another program’s file', () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers();
  });
  afterAll(() => servers.stop());

  test('a login from another program does not reach other users’ servers, whatever its file says', async () => {
    const at = await peerHome('opencode', servers);
    const file = join(at.directory, '.local/share/opencode/mcp-auth.json');
    const values = JSON.parse(await readFile(file, 'utf8'));
    const claims = { reach: 'anyone', otherLocalUsers: true, leniencies: ['other-local-users'] };
    Object.assign(values.notion, claims, { server: claims });
    Object.assign(values.notion.tokens, claims);
    await writeFile(file, JSON.stringify(values));
    const [found] = (await findLogins(at.source, at.context)).logins;
    if (found === undefined) throw new Error('There is no login to import.');
    await moveLogin(found, at, vaultAt(at.home).vault, { issuer: servers.issuer });
    expect((await stored(at.home, servers.resource)).credential.server.reach).toBe('anywhere');
  });
});

describe('a record of a login that may reach other users’ servers', () => {
  const credential: Credential = sampleCredential(RESOURCE);
  const lenient = { ...credential, server: { ...credential.server, reach: 'anyone' as const } };

  test('writes the permission to a field of its own, so that an older version opens the record', () => {
    const plain = JSON.parse(Buffer.from(serializeCredential(lenient)).toString('utf8'));
    expect(plain.server).toMatchObject({ reach: 'anywhere', otherLocalUsers: true });
  });

  test('reads the permission back as it was written', () => {
    expect(parseCredential(serializeCredential(lenient))).toEqual(lenient);
  });

  test('reads the permission as the version before wrote it', () => {
    const plain = JSON.parse(Buffer.from(serializeCredential(lenient)).toString('utf8'));
    const { otherLocalUsers: _, ...server } = { ...plain.server, reach: 'anyone' };
    const read = parseCredential(Buffer.from(JSON.stringify({ ...plain, server })));
    expect(read.server.reach).toBe('anyone');
  });

  test('the field widens no other reach', () => {
    const plain = JSON.parse(Buffer.from(serializeCredential(lenient)).toString('utf8'));
    plain.server.reach = 'public';
    expect(parseCredential(Buffer.from(JSON.stringify(plain))).server.reach).toBe('public');
  });
});
