import { createHash } from 'node:crypto';
import { calculateJwkThumbprint, EmbeddedJWK, errors, type JWTPayload, jwtVerify } from 'jose';

/** The values that a proof must match (RFC 9449 section 4.3). */
export interface ProofRules {
  readonly method: string;
  readonly url: string;
  readonly token: string;
  /** Thumbprint of the key that the token is bound to. */
  readonly thumbprint: string;
  /** The only valid nonce, if one is required. */
  readonly nonce: string | undefined;
}

/** The proof is not valid; `code` goes into the challenge (RFC 9449 section 7.1). */
export class ProofRefused extends Error {
  readonly code: 'invalid_dpop_proof' | 'use_dpop_nonce';
  constructor(code: ProofRefused['code']) {
    super(code);
    this.code = code;
  }
}

const AGE_S = 300;
const seen = new Set<string>();

/** @throws ProofRefused */
export async function checkProof(
  proof: string | readonly string[] | undefined,
  rules: ProofRules,
): Promise<void> {
  const { payload, thumbprint } = await opened(proof);
  const { htm, htu, ath, jti, iat } = payload;
  const target = typeof htu === 'string' && URL.canParse(htu) ? new URL(htu) : undefined;
  const good =
    thumbprint === rules.thumbprint &&
    htm === rules.method &&
    // Query and fragment are not part of it; these servers' requests have none.
    target?.href === rules.url &&
    ath === createHash('sha256').update(rules.token).digest('base64url') &&
    typeof jti === 'string' &&
    !seen.has(jti) &&
    typeof iat === 'number' &&
    Math.abs(Date.now() / 1000 - iat) < AGE_S;
  if (!good) throw new ProofRefused('invalid_dpop_proof');
  if (rules.nonce !== undefined && payload['nonce'] !== rules.nonce) throw new ProofRefused('use_dpop_nonce');
  seen.add(jti);
}

async function opened(
  proof: string | readonly string[] | undefined,
): Promise<{ payload: JWTPayload; thumbprint: string }> {
  if (typeof proof !== 'string') throw new ProofRefused('invalid_dpop_proof');
  try {
    const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
      algorithms: ['ES256'],
      typ: 'dpop+jwt',
    });
    return { payload, thumbprint: await calculateJwkThumbprint(protectedHeader.jwk ?? {}) };
  } catch (error) {
    if (error instanceof errors.JOSEError) throw new ProofRefused('invalid_dpop_proof');
    throw error;
  }
}
