import { describe, expect, test } from 'vitest';
import { serializeCredential } from '../../src/credential-record.ts';
import { sealBlob } from '../../src/handover/blob.ts';
import { codeOf, parseCode } from '../../src/handover/code.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { vaultAt } from '../support/homes/vault.ts';

/*
 * See also test/core/handover.test.ts (altered and replayed blobs) and test/transfer/transfer.test.ts (a sender who
 * lies).
 */

const resource = 'https://mcp.example/mcp';
const about = { resource, account: 'default', mode: 'move', expiresAt: Date.now() + 60_000 } as const;

// The points of small order of Curve25519, from https://cr.yp.to/ecdh.html#validate.
test.each([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
])('refuses to seal anything to the public key %s, which anybody could open', async (point) => {
  const code = codeOf(Buffer.from(point, 'hex'));
  await expect(sealBlob(code, about, Buffer.from('a login'))).rejects.toHaveProperty(
    'code',
    'invalid-argument',
  );
});

describe('a blob that is refused', () => {
  const good = Buffer.from(serializeCredential(sampleCredential(resource))).toString('utf8');
  test.each([
    ['when its time is over', good, { expiresAt: Date.now() - 120_000 }, 'handover-expired'],
    [
      'when it is for plain http',
      good.replaceAll(resource, 'http://mcp.example/'),
      { resource: 'http://mcp.example/' },
      'handover-damaged',
    ],
    ['when what it holds sets a prototype', '{"__proto__":{"v":1}}', {}, 'handover-damaged'],
    ['when a login inherits all that it has', `{"__proto__":${good}}`, {}, 'handover-damaged'],
    ['when what it holds is a string', JSON.stringify(good), {}, 'handover-damaged'],
  ])('refuses a blob and stores nothing %s', async (_, plaintext, changes, code) => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    const to = parseCode((await vault.transfer.invite()).code);
    const blob = await sealBlob(to, { ...about, ...changes }, Buffer.from(plaintext));
    await expect(vault.transfer.receive(blob)).rejects.toHaveProperty('code', code);
    expect((await vault.list()).credentials).toEqual([]);
  });
});
