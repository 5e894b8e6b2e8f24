import { constants, createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { InvalidArgumentError } from '../../errors.ts';
import type { Secret } from '../../secret.ts';

/*
 * Signed JSON Web Tokens (RFC 7519, RFC 7515 compact form). A client proves with them that it holds a private key. The
 * key determines the algorithm: nobody has to name one, and no algorithm confusion is possible.
 */

/** `alg` of RFC 7518 section 3.1, RFC 8037 section 3.1 (`EdDSA`) and RFC 9864 section 2.2 (`Ed25519`). */
export type SigningAlgorithm = 'ES256' | 'ES384' | 'EdDSA' | 'Ed25519' | 'RS256' | 'PS256';

/** A private key and its signing algorithm. */
export interface SigningKey {
  readonly key: KeyObject;
  readonly algorithm: SigningAlgorithm;
}

const ES256: readonly SigningAlgorithm[] = ['ES256'];
const ES384: readonly SigningAlgorithm[] = ['ES384'];
const EDDSA: readonly SigningAlgorithm[] = ['EdDSA', 'Ed25519'];
const RSA: readonly SigningAlgorithm[] = ['RS256', 'PS256'];

/** OpenSSL's names for the curves P-256 and P-384. */
const CURVES = new Map([
  ['prime256v1', ES256],
  ['secp384r1', ES384],
]);

/** RFC 7518 section 3.3. */
const LEAST_RSA_BITS = 2048;

const HINT =
  'Give an unencrypted private key in PEM: EC P-256 or P-384, Ed25519, or RSA of 2048 bits or more. ' +
  'To make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem';

/**
 * Reads the key in a PEM for signing.
 *
 * @param pem PKCS #8; PKCS #1 and SEC 1 work too
 * @param listed the algorithms that the server lists, if known. If the key supports several, the first listed one is
 *   used, else the most common one (RS256, EdDSA).
 * @throws InvalidArgumentError when the text is not such a key; the error shows none of it
 */
export function signingKey(pem: Secret, listed: readonly string[] = []): SigningKey {
  const key = privateKey(pem.reveal());
  const known = algorithmsOf(key);
  const algorithm = known.find((name) => listed.includes(name)) ?? known[0];
  if (algorithm === undefined) throw unusable('is of a kind that signs with no algorithm of this protocol');
  return { key, algorithm };
}

/**
 * Returns the algorithm that the key will sign with. Lets a caller check the key before it contacts anyone.
 *
 * @throws InvalidArgumentError as `signingKey` does
 */
export function signingAlgorithmOf(pem: Secret, listed?: readonly string[]): SigningAlgorithm {
  return signingKey(pem, listed).algorithm;
}

/** Signs a token. Its header names the key's algorithm, followed by the given members. */
export function signJwt(
  { key, algorithm }: SigningKey,
  header: Readonly<Record<string, unknown>>,
  claims: Readonly<Record<string, unknown>>,
): string {
  const encode = (part: unknown) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const input = `${encode({ alg: algorithm, ...header })}.${encode(claims)}`;
  return `${input}.${signature(key, algorithm, Buffer.from(input)).toString('base64url')}`;
}

function signature(key: KeyObject, algorithm: SigningAlgorithm, input: Uint8Array): Buffer {
  switch (algorithm) {
    // RFC 7518 section 3.4: both numbers side by side, not in DER.
    case 'ES256':
      return sign('sha256', input, { key, dsaEncoding: 'ieee-p1363' });
    case 'ES384':
      return sign('sha384', input, { key, dsaEncoding: 'ieee-p1363' });
    case 'EdDSA':
    case 'Ed25519':
      return sign(null, input, key);
    case 'RS256':
      return sign('sha256', input, key);
    case 'PS256': {
      const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_DIGEST: saltLength } = constants;
      return sign('sha256', input, { key, padding, saltLength });
    }
  }
}

function algorithmsOf({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject) {
  switch (type) {
    case 'ec': {
      const known = CURVES.get(details?.namedCurve ?? '');
      if (known === undefined) throw unusable(`is on the unsupported curve ${details?.namedCurve ?? '?'}`);
      return known;
    }
    case 'ed25519':
      return EDDSA;
    case 'rsa': {
      const bits = details?.modulusLength ?? 0;
      if (bits < LEAST_RSA_BITS) {
        throw unusable(`is RSA of ${bits} bits; ${LEAST_RSA_BITS} is the least (RFC 7518 section 3.3)`);
      }
      return RSA;
    }
    default:
      throw unusable(`is of the unsupported kind ${type ?? '?'}`);
  }
}

function privateKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    // OpenSSL's message does not help the user, and differs between versions.
    throw unusable(whyUnreadable(pem));
  }
}

/** Uses fixed words only: an error must not repeat the text, which may be a key. */
function whyUnreadable(pem: string): string {
  if (/BEGIN ENCRYPTED PRIVATE KEY|^Proc-Type: *4, *ENCRYPTED/m.test(pem)) return 'is encrypted';
  if (pem.includes('BEGIN OPENSSH PRIVATE KEY')) return 'is in the format of OpenSSH';
  if (pem.includes('PRIVATE KEY-----')) {
    return pem.includes('\\n')
      ? 'has its line breaks written as a backslash and an n'
      : 'cannot be read: it is cut off, or damaged';
  }
  if (pem.includes('BEGIN PUBLIC KEY') || pem.includes('BEGIN RSA PUBLIC KEY')) {
    return 'is a public key, not a private one';
  }
  if (pem.includes('BEGIN CERTIFICATE')) return 'is a certificate, not a private key';
  return pem.trimStart().startsWith('{') ? 'is JSON, such as a JWK, not PEM' : 'is not a private key in PEM';
}

function unusable(why: string): InvalidArgumentError {
  return new InvalidArgumentError(`The private key cannot be used: it ${why}.`, { hint: HINT });
}
