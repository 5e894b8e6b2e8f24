import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { InvalidArgumentError } from '../../errors.ts';
import { Secret } from '../../secret.ts';
import { type SigningKey, signingKey, signJwt } from './jwt.ts';

/*
 * Demonstrating Proof of Possession (RFC 9449): a key binds the tokens. Each request carries its own proof that the
 * sender holds the key. A token stolen without the key is useless.
 */

/** The request that a proof is for. */
export interface DpopRequest {
  /** As in the request line. */
  readonly method: string;
  /** An absolute URL. The proof excludes its query and fragment (RFC 9449 section 4.2). */
  readonly url: string;
  /** The server's `DPoP-Nonce`. */
  readonly nonce?: string | undefined;
  /** The access token that the request sends to a resource server. */
  readonly accessToken?: Secret | undefined;
}

/** RFC 9449 section 8.1: NQCHAR of RFC 6749 appendix A. A proof with a longer nonce would not fit a header. */
const NONCE = /^[\x21\x23-\x5b\x5d-\x7e]{1,2048}$/;

/** Maximum number of cached nonces, one for each origin. A forgotten nonce costs one extra request. */
const MAX_ORIGINS = 100;

/** Generates a key: EC P-256, as PKCS #8 in PEM. */
export function generateDpopKey(): Secret {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return new Secret(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
}

/**
 * Returns the public key's SHA-256 thumbprint (RFC 7638) in base64url: `dpop_jkt` of an authorization request (RFC 9449
 * section 10).
 *
 * @throws InvalidArgumentError for a key that is not EC P-256
 */
export function dpopThumbprint(key: Secret): string {
  const { crv, kty, x, y } = publicJwk(ecKey(key).key);
  // RFC 7638 section 3: exactly these members, in this order, without white space.
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
}

/**
 * Signs the proof for one request, the value of its `DPoP` header (RFC 9449 section 4.2). `iat` comes from the wall
 * clock; a server that gave a nonce checks the nonce instead.
 *
 * @throws InvalidArgumentError for a key that is not EC P-256
 */
export function dpopProof(key: Secret, request: DpopRequest): string {
  const signer = ecKey(key);
  const target = new URL(request.url);
  target.search = '';
  target.hash = '';
  const { nonce, accessToken } = request;
  return signJwt(
    signer,
    { typ: 'dpop+jwt', jwk: publicJwk(signer.key) },
    {
      jti: randomUUID(),
      htm: request.method,
      htu: target.href,
      iat: Math.floor(Date.now() / 1000),
      ...(nonce === undefined ? {} : { nonce }),
      ...(accessToken === undefined
        ? {}
        : { ath: createHash('sha256').update(accessToken.reveal()).digest('base64url') }),
    },
  );
}

/**
 * Caches the last nonce of each server, by origin (RFC 9449 sections 8.2 and 9). This saves the next request an extra
 * round trip. Authorization servers and resource servers use different nonces, so each kind needs its own instance.
 */
export class DpopNonces {
  readonly #nonces = new Map<string, string>();

  of(url: string): string | undefined {
    return this.#nonces.get(new URL(url).origin);
  }

  /** Saves and returns the nonce of a response. Ignores malformed nonces. */
  learn(url: string, headers: Headers): string | undefined {
    const nonce = headers.get('dpop-nonce') ?? '';
    if (!NONCE.test(nonce)) return undefined;
    const { origin } = new URL(url);
    this.#nonces.delete(origin);
    this.#nonces.set(origin, nonce);
    const [oldest] = this.#nonces.keys();
    if (this.#nonces.size > MAX_ORIGINS && oldest !== undefined) this.#nonces.delete(oldest);
    return nonce;
  }
}

function ecKey(pem: Secret): SigningKey {
  const key = signingKey(pem);
  if (key.algorithm === 'ES256') return key;
  throw new InvalidArgumentError(`A DPoP key is EC P-256; this one signs with ${key.algorithm}.`, {
    hint: 'Log in again: that makes a new key.',
  });
}

/** Returns only the public members of the key. */
function publicJwk(key: KeyObject): { kty: unknown; crv: unknown; x: unknown; y: unknown } {
  const { kty, crv, x, y } = createPublicKey(key).export({ format: 'jwk' });
  return { kty, crv, x, y };
}
