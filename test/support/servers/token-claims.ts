import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

/** An authorization server whose tokens are accepted, and how to check them. */
export interface TokenSource {
  readonly issuer: string;
  /** Introspection (RFC 7662). */
  readonly introspection?: {
    readonly endpoint: string;
    readonly clientId: string;
    readonly clientSecret: string;
  };
  /** URL of the keys that sign its JWT access tokens (RFC 9068). */
  readonly jwksUri?: string;
}

/** Claims of a token (RFC 7662 section 2.2, RFC 9068 section 2.2). */
export interface Claims {
  readonly sub?: string;
  readonly client_id?: string;
  readonly scope?: string;
  /** Thumbprint of the key that the token is bound to (RFC 9449 section 6). */
  readonly cnf?: { readonly jkt?: string };
}

const keys = new Map<string, ReturnType<typeof createRemoteJWKSet>>();

/** The claims of a live token of one of these servers for that resource (RFC 8707), or `undefined`. */
export async function tokenClaims(
  token: string,
  resource: string,
  sources: readonly TokenSource[],
): Promise<Claims | undefined> {
  const answers = await Promise.allSettled(
    sources.map((source) =>
      source.jwksUri === undefined
        ? introspected(token, resource, source)
        : verified(token, resource, source, source.jwksUri),
    ),
  );
  for (const answer of answers) {
    if (answer.status === 'fulfilled' && answer.value !== undefined) return answer.value;
  }
  // A failed check is not the same as an invalid token.
  for (const answer of answers) if (answer.status === 'rejected') throw answer.reason;
  return undefined;
}

async function introspected(
  token: string,
  resource: string,
  { introspection }: TokenSource,
): Promise<Claims | undefined> {
  if (introspection === undefined) return undefined;
  const basic = Buffer.from(`${introspection.clientId}:${introspection.clientSecret}`).toString('base64');
  const response = await fetch(introspection.endpoint, {
    method: 'POST',
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ token }),
  });
  const found = (await response.json()) as Claims & { active?: boolean; aud?: string };
  return found.active === true && found.aud === resource ? found : undefined;
}

async function verified(
  token: string,
  resource: string,
  { issuer }: TokenSource,
  jwksUri: string,
): Promise<Claims | undefined> {
  const set = keys.get(jwksUri) ?? createRemoteJWKSet(new URL(jwksUri));
  keys.set(jwksUri, set);
  try {
    return (await jwtVerify(token, set, { issuer, audience: resource })).payload;
  } catch (error) {
    // The token belongs to another server, or has expired.
    if (error instanceof errors.JOSEError) return undefined;
    throw error;
  }
}
