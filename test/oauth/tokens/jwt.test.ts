import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import fc from 'fast-check';
import { decodeProtectedHeader, jwtVerify } from 'jose';
import { describe, expect, test } from 'vitest';
import { HoldfastError, InvalidArgumentError } from '../../../src/errors.ts';
import { signingAlgorithmOf, signingKey, signJwt } from '../../../src/oauth/tokens/jwt.ts';
import { Secret } from '../../../src/secret.ts';
import { secretsSeen } from '../../support/leaks.ts';
import '../../support/fixed-seed.ts';

type Pair = { privateKey: KeyObject; publicKey: KeyObject };

const PAIRS: Readonly<Record<string, Pair>> = {
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  Ed25519: generateKeyPairSync('ed25519'),
  RSA: generateKeyPairSync('rsa', { modulusLength: 2048 }),
};

function pair(name: string): Pair {
  const found = PAIRS[name];
  if (found === undefined) throw new Error(`There is no key pair ${name}.`);
  return found;
}

function pem({ privateKey }: Pair, type: 'pkcs8' | 'pkcs1' | 'sec1' = 'pkcs8'): string {
  return privateKey.export({ type, format: 'pem' }).toString();
}

function encrypted(type: 'pkcs8' | 'pkcs1'): string {
  const options = { type, format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' } as const;
  return pair('RSA').privateKey.export(options).toString();
}

/** Returns the error for the key; it contains nothing of the key. */
function refusal(key: string): HoldfastError {
  try {
    signingAlgorithmOf(new Secret(key));
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const lines = key.split('\n').filter((line) => line.length > 30 && !line.startsWith('-----'));
    expect(secretsSeen(error, lines)).toBe(0);
    return error;
  }
  throw new Error('The key was taken.');
}

describe('the signing algorithm', () => {
  test.each([
    ['P-256', undefined, 'ES256'],
    ['P-384', undefined, 'ES384'],
    ['Ed25519', undefined, 'EdDSA'],
    ['RSA', undefined, 'RS256'],
    ['RSA', ['PS256', 'ES256'], 'PS256'],
    ['RSA', ['PS256', 'RS256'], 'RS256'],
    ['RSA', ['RS512'], 'RS256'],
    ['RSA', [], 'RS256'],
    ['Ed25519', ['Ed25519'], 'Ed25519'],
    ['Ed25519', ['Ed25519', 'EdDSA'], 'EdDSA'],
    ['P-256', ['RS256'], 'ES256'],
  ])('a key of %s, for a server that lists %j, signs with %s', async (name, listed, algorithm) => {
    const key = new Secret(pem(pair(name)));
    expect(signingAlgorithmOf(key, listed)).toBe(algorithm);
    const token = signJwt(signingKey(key, listed), {}, { iss: 'x' });
    const { protectedHeader } = await jwtVerify(token, pair(name).publicKey);
    expect(protectedHeader.alg).toBe(algorithm);
  });
});

describe('a signed token', () => {
  test.each(Object.keys(PAIRS))('signs any header and claims with a key of %s, unchanged', async (name) => {
    const key = signingKey(new Secret(pem(pair(name))));
    const text = fc.string({ unit: 'binary' });
    await fc.assert(
      fc.asyncProperty(text, text, async (kid, claim) => {
        const token = signJwt(key, { kid, typ: 'x+jwt' }, { claim });
        const { payload, protectedHeader } = await jwtVerify(token, pair(name).publicKey, { typ: 'x+jwt' });
        expect(payload).toEqual({ claim });
        expect(protectedHeader).toEqual({ alg: key.algorithm, kid, typ: 'x+jwt' });
      }),
      { numRuns: 25 },
    );
  });

  test('makes a signature that another key of the same kind does not verify', async () => {
    const token = signJwt(signingKey(new Secret(pem(pair('P-256')))), {}, {});
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await expect(jwtVerify(token, other.publicKey)).rejects.toThrow('signature verification failed');
  });

  test('shows nothing of the private key in a signed token', () => {
    const token = signJwt(signingKey(new Secret(pem(pair('P-256')))), { kid: 'k' }, {});
    expect(decodeProtectedHeader(token)).toEqual({ alg: 'ES256', kid: 'k' });
  });
});

describe('a private key in PEM', () => {
  test.each([
    ['PKCS #8', pem(pair('RSA')), 'RS256'],
    ['PKCS #1', pem(pair('RSA'), 'pkcs1'), 'RS256'],
    ['SEC 1', pem(pair('P-384'), 'sec1'), 'ES384'],
    ['lines of Windows', pem(pair('P-256')).replaceAll('\n', '\r\n'), 'ES256'],
    ['empty lines around it', `\n  \n${pem(pair('P-256'))}\n\n`, 'ES256'],
  ])('reads a key with %s', (_name, key, algorithm) => {
    expect(signingAlgorithmOf(new Secret(key))).toBe(algorithm);
  });

  const publicPem = pair('P-256').publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const own = (made: Pair) => pem(made);
  test.each([
    ['encrypted', encrypted('pkcs8'), 'is encrypted'],
    ['encrypted the old way', encrypted('pkcs1'), 'is encrypted'],
    ['a public one', publicPem, 'is a public key'],
    [
      'a certificate',
      publicPem.replaceAll('PUBLIC KEY', 'CERTIFICATE'),
      'is a certificate, not a private key',
    ],
    [
      'of OpenSSH',
      pem(pair('P-256')).replaceAll('PRIVATE KEY', 'OPENSSH PRIVATE KEY'),
      'in the format of OpenSSH',
    ],
    ['cut off', pem(pair('RSA')).slice(0, 700), 'cut off, or damaged'],
    ['on one line', pem(pair('P-256')).replaceAll('\n', '\\n'), 'line breaks'],
    ['a JWK', JSON.stringify(pair('P-256').privateKey.export({ format: 'jwk' })), 'JWK'],
    ['something else', 'a-client-secret-that-was-given-in-place-of-a-key', 'is not a private key in PEM'],
    ['nothing', '', 'is not a private key in PEM'],
    ['RSA of 1024 bits', own(generateKeyPairSync('rsa', { modulusLength: 1024 })), 'RSA of 1024 bits'],
    [
      'on the curve secp256k1',
      own(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })),
      'curve secp256k1',
    ],
    ['on the curve P-521', own(generateKeyPairSync('ec', { namedCurve: 'P-521' })), 'curve secp521r1'],
    ['of Ed448', own(generateKeyPairSync('ed448')), 'kind ed448'],
    ['of X25519, which signs nothing', own(generateKeyPairSync('x25519')), 'kind x25519'],
    ['for RSA-PSS alone', own(generateKeyPairSync('rsa-pss', { modulusLength: 2048 })), 'kind rsa-pss'],
  ])('says why it refuses a key that is %s', (_name, key, why) => {
    const error = refusal(key);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error.message).toContain(why);
    expect(error.hint).toContain('openssl genpkey');
  });
});
