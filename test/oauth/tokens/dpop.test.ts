import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import {
  calculateJwkThumbprint,
  decodeJwt,
  decodeProtectedHeader,
  EmbeddedJWK,
  type JWK,
  jwtVerify,
} from 'jose';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../../src/errors.ts';
import {
  DpopNonces,
  type DpopRequest,
  dpopProof,
  dpopThumbprint,
  generateDpopKey,
} from '../../../src/oauth/tokens/dpop.ts';
import { Secret } from '../../../src/secret.ts';
import '../../support/fixed-seed.ts';

const KEY = generateDpopKey();
const URL_ = 'https://as.example/token';

/** Returns the claims of a proof, after jose verifies its signature, type and algorithm with the key in it. */
async function claims(request: Partial<DpopRequest> = {}) {
  const proof = dpopProof(KEY, { method: 'POST', url: URL_, ...request });
  const options = { typ: 'dpop+jwt', algorithms: ['ES256'], maxTokenAge: 60 };
  return (await jwtVerify(proof, EmbeddedJWK, options)).payload;
}

describe('a DPoP key', () => {
  test('generates a new EC P-256 key each time, hidden when printed', () => {
    const key = createPrivateKey(KEY.reveal());
    expect(key.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
    expect(generateDpopKey().equals(KEY)).toBe(false);
    expect(JSON.stringify({ KEY })).toBe('{"KEY":"[secret]"}');
  });

  test('computes the RFC 7638 thumbprint, the same each time', async () => {
    const jwk = createPublicKey(KEY.reveal()).export({ format: 'jwk' }) as JWK;
    const expected = await calculateJwkThumbprint(jwk);
    expect(dpopThumbprint(KEY)).toBe(expected);
    expect(dpopThumbprint(KEY)).toBe(expected);
    expect(dpopThumbprint(generateDpopKey())).not.toBe(expected);
  });

  test('refuses a key of another kind', () => {
    for (const { privateKey } of [
      generateKeyPairSync('ed25519'),
      generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    ]) {
      const key = new Secret(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
      expect(() => dpopThumbprint(key)).toThrow(InvalidArgumentError);
      expect(() => dpopProof(key, { method: 'GET', url: URL_ })).toThrow('EC P-256');
    }
  });
});

describe('a DPoP proof', () => {
  test('names in a proof its request and its time', async () => {
    const before = Math.floor(Date.now() / 1000);
    const payload = await claims();
    expect(payload).toEqual({
      jti: expect.stringMatching(/^.{20,}$/),
      htm: 'POST',
      htu: URL_,
      iat: expect.any(Number),
    });
    expect(payload.iat).toBeGreaterThanOrEqual(before);
    expect(payload.iat).toBeLessThanOrEqual(Date.now() / 1000);
  });

  test('puts the public key into a proof, and nothing of the private one', () => {
    const header = decodeProtectedHeader(dpopProof(KEY, { method: 'GET', url: URL_ }));
    const jwk = createPrivateKey(KEY.reveal()).export({ format: 'jwk' });
    expect(header).toEqual({
      alg: 'ES256',
      typ: 'dpop+jwt',
      jwk: { kty: 'EC', crv: 'P-256', x: jwk.x, y: jwk.y },
    });
  });

  test('gives each proof its own jti', () => {
    const proofs = Array.from({ length: 100 }, () => dpopProof(KEY, { method: 'GET', url: URL_ }));
    expect(new Set(proofs.map((proof) => decodeJwt(proof).jti)).size).toBe(100);
  });

  test.each([
    ['https://as.example/token?a=b#c', 'https://as.example/token'],
    ['https://AS.example:443/a/%7Eb/', 'https://as.example/a/%7Eb/'],
    ['https://as.example', 'https://as.example/'],
    ['http://127.0.0.1:8080/mcp?session=1', 'http://127.0.0.1:8080/mcp'],
  ])('a proof for %s names %s', async (url, htu) => {
    expect((await claims({ url })).htu).toBe(htu);
  });

  test('puts the exact method, the nonce and the token’s hash into a proof', async () => {
    const accessToken = new Secret('an-access-token');
    const payload = await claims({ method: 'DELETE', nonce: 'n-0nce', accessToken });
    expect(payload['htm']).toBe('DELETE');
    expect(payload['nonce']).toBe('n-0nce');
    expect(payload['ath']).toBe(createHash('sha256').update('an-access-token').digest('base64url'));
  });
});

describe('DPoP nonces', () => {
  const given = (value: string) => new Headers({ 'dpop-nonce': value });

  test('keeps the latest nonce of each origin', () => {
    const nonces = new DpopNonces();
    expect(nonces.of(URL_)).toBeUndefined();
    expect(nonces.learn(URL_, given('one'))).toBe('one');
    nonces.learn('https://as.example:8443/token', given('other'));
    expect(nonces.of('https://as.example/elsewhere?x')).toBe('one');
    nonces.learn('https://as.example/par', given('two'));
    expect(nonces.of(URL_)).toBe('two');
    expect(nonces.of('https://as.example:8443/')).toBe('other');
  });

  test('keeps the nonce when an answer has none or a malformed one', () => {
    const nonces = new DpopNonces();
    nonces.learn(URL_, given('one'));
    const two = new Headers([
      ['dpop-nonce', 'a'],
      ['dpop-nonce', 'b'],
    ]);
    for (const headers of [
      new Headers(),
      two,
      given(''),
      given('a b'),
      given('a"b'),
      given('a\\b'),
      given('ü'),
      given('x'.repeat(2049)),
    ]) {
      expect(nonces.learn(URL_, headers)).toBeUndefined();
    }
    expect(nonces.of(URL_)).toBe('one');
  });

  test('accepts any nonce that RFC 9449 allows', () => {
    const allowed = Array.from({ length: 0x7f - 0x21 }, (_, at) => String.fromCharCode(0x21 + at)).filter(
      (character) => character !== '"' && character !== '\\',
    );
    const nonce = fc.string({ unit: fc.constantFrom(...allowed), minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(nonce, (text) => {
        expect(new DpopNonces().learn(URL_, given(text))).toBe(text);
        expect(decodeJwt(dpopProof(KEY, { method: 'POST', url: URL_, nonce: text }))['nonce']).toBe(text);
      }),
      { numRuns: 50 },
    );
  });

  test('forgets the oldest nonce when there are too many', () => {
    const nonces = new DpopNonces();
    const at = (number: number) => `https://as${number}.example/token`;
    for (let number = 0; number < 100; number += 1) nonces.learn(at(number), given(`n${number}`));
    nonces.learn(at(0), given('again'));
    nonces.learn(at(100), given('n100'));
    expect(nonces.of(at(0))).toBe('again');
    expect(nonces.of(at(1))).toBeUndefined();
    expect(nonces.of(at(2))).toBe('n2');
    expect(nonces.of(at(100))).toBe('n100');
  });
});
