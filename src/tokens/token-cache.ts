import type { CredentialId } from '../credential.ts';
import type { Lookup, StoredCredential } from '../credentials/credential-store.ts';
import type { Secret } from '../secret.ts';
import type { AccessToken, ProofRequest } from './access-token.ts';

/*
 * Tokens that this process may return without contacting anyone: the path of every request. The caller's own spelling
 * is the cache key, so a hit parses nothing.
 */

/** A credential in memory, and how long it may be returned without a check. */
export interface CachedToken {
  readonly id: CredentialId;
  /** As the caller spelled it. */
  readonly account: string | undefined;
  readonly held: StoredCredential;
  readonly kids: string;
  readonly access: AccessToken;
  /** The token is served without a refresh until this time, on the monotonic clock, in milliseconds. */
  servedUntil: number;
  /** When to check for changes by other processes, in milliseconds on both clocks. */
  lookAgainAt: { readonly monotonic: number; readonly wall: number };
}

/** Maximum number of entries: callers may spell one URL in many ways, and must not fill the memory. */
const MOST_CACHED = 10_000;

/** Maximum number of logins with their own time of forgetting. Above it, all logins count as forgotten at once. */
const MOST_FORGOTTEN = 1_000;

export class TokenCache {
  readonly #cached = new Map<string, CachedToken>();
  /** By record id: entries that were looked up before that epoch are not cached. */
  readonly #forgottenAt = new Map<string, number>();
  #epoch = 0;
  #allForgottenAt = 0;

  /** Grows with each `forget`. The cache drops results that were looked up before. */
  get epoch(): number {
    return this.#epoch;
  }

  get(resource: string, account: string | undefined): CachedToken | undefined {
    const entry = this.#cached.get(key(resource, account));
    // Two names may have the same key if a caller puts a NUL into either.
    return entry?.account === account ? entry : undefined;
  }

  /** @param epoch the epoch when the lookup of this entry began */
  set(epoch: number, resource: string, entry: CachedToken): void {
    if (epoch < (this.#forgottenAt.get(entry.id.recordId) ?? this.#allForgottenAt)) return;
    if (this.#cached.size >= MOST_CACHED) {
      for (const oldest of this.#cached.keys()) {
        this.#cached.delete(oldest);
        break;
      }
    }
    this.#cached.set(key(resource, entry.account), entry);
  }

  delete(resource: string, account: string | undefined): void {
    this.#cached.delete(key(resource, account));
  }

  /** @param id forgets this login only; without it, all logins */
  forget(id?: CredentialId): void {
    this.#epoch += 1;
    if (id === undefined || this.#forgottenAt.size >= MOST_FORGOTTEN) {
      this.#allForgottenAt = this.#epoch;
      this.#forgottenAt.clear();
    } else this.#forgottenAt.set(id.recordId, this.#epoch);
    for (const [name, entry] of this.#cached) {
      if (id === undefined || entry.id.recordId === id.recordId) this.#cached.delete(name);
    }
  }

  /**
   * Makes every entry be compared with the store before it is returned again. If the store is down, the entry still
   * serves.
   */
  lookAgain(): void {
    for (const entry of this.#cached.values()) entry.lookAgainAt = { monotonic: 0, wall: 0 };
  }
}

function key(resource: string, account: string | undefined): string {
  return account === undefined ? resource : `${resource}\0${account}`;
}

export async function cachedToken(
  id: CredentialId,
  account: string | undefined,
  { held, kids }: Lookup,
  servedUntil: number,
): Promise<CachedToken> {
  const { tokens, generation, requestedScope, grantedScope, server, dpopKey } = held.credential;
  const access: AccessToken = Object.freeze({
    token: tokens.accessToken,
    tokenType: tokens.tokenType,
    expiresAt: tokens.expiresAt,
    generation,
    requestedScope,
    grantedScope,
    issuer: server.issuer,
    proof:
      tokens.tokenType === 'DPoP' && dpopKey !== undefined
        ? await proofWith(dpopKey, tokens.accessToken)
        : undefined,
  });
  return {
    id,
    account,
    held,
    kids: kids.join(),
    access,
    servedUntil,
    lookAgainAt: { monotonic: 0, wall: 0 },
  };
}

async function proofWith(key: Secret, accessToken: Secret): Promise<(request: ProofRequest) => string> {
  const { dpopProof } = await import('../oauth/tokens/dpop.ts');
  return (request) => dpopProof(key, { ...request, accessToken });
}
