import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { InvalidArgumentError } from '../../errors.ts';
import { Secret } from '../../secret.ts';
import { type SigningKey, signingKey, signJwt } from './jwt.ts';

/*
 * Demonstrating Proof of Possession (RFC 9449): tokens are bound to a key, and each request shows, by a proof of its own,
 * that whoever sends it holds that key. A token that was stolen without the key is of no use.
 */

/** What a proof is for. */
export interface DpopRequest {
  /** As it stands in the request line. */
  readonly method: string;
  /** An absolute URL; its query and fragment do not go into the proof (RFC 9449 section 4.2). */
  readonly url: string;
  /** What the server gave in `DPoP-Nonce`. */
  readonly nonce?: string | undefined;
  /** The token that goes along, at a resource server. */
  readonly accessToken?: Secret | undefined;
}

/** RFC 9449 section 8.1: NQCHAR of RFC 6749 appendix A. Longer than this, no proof with it would fit a header. */
const NONCE = /^[\x21\x23-\x5b\x5d-\x7e]{1,2048}$/;

/** So many servers' nonces are kept; a nonce that was forgotten costs one more round. */
const MAX_ORIGINS = 100;

/** A new key, EC P-256, as PKCS #8 in PEM. */
export function generateDpopKey(): Secret {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return new Secret(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
}

/**
 * The public key's SHA-256 thumbprint (RFC 7638), base64url: `dpop_jkt` of an authorization request (RFC 9449 section 10).
 *
 * @throws InvalidArgumentError for a key that is not EC P-256
 */
export function dpopThumbprint(key: Secret): string {
  const { crv, kty, x, y } = publicJwk(ecKey(key).key);
  // RFC 7638 section 3: these members, in this order, and no white space.
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
}

/**
 * The proof for one request (RFC 9449 section 4.2): what goes into its `DPoP` header. Its time is that of the wall clock;
 * a server that gave a nonce looks at that instead.
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
 * The last nonce of each server, by the origin of its URL (RFC 9449 sections 8.2 and 9): the next request needs no extra
 * round. An authorization server's nonces and a resource server's are different ones, so each has an instance of its own.
 */
export class DpopNonces {
  readonly #nonces = new Map<string, string>();

  of(url: string): string | undefined {
    return this.#nonces.get(new URL(url).origin);
  }

  /** Keeps the nonce that an answer carries, and yields it. What cannot be a nonce is none. */
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

/** The public half, and nothing beside it. */
function publicJwk(key: KeyObject): { kty: unknown; crv: unknown; x: unknown; y: unknown } {
  const { kty, crv, x, y } = createPublicKey(key).export({ format: 'jwk' });
  return { kty, crv, x, y };
}
