import type { CredentialId } from '../credential.ts';
import type { Lookup, StoredCredential } from '../credentials/credential-store.ts';
import type { Secret } from '../secret.ts';
import type { AccessToken, ProofRequest } from './access-token.ts';

/*
 * What this process may hand out again without asking anybody: the path that a caller takes for each request. It is looked
 * up by the very words of the caller, so that nothing is parsed on the way.
 */

/** A credential in memory, and until when it may be handed out without a look. */
export interface CachedToken {
  readonly id: CredentialId;
  /** As the caller gave it. */
  readonly account: string | undefined;
  readonly held: StoredCredential;
  readonly kids: string;
  readonly access: AccessToken;
  /** Until when it is served without thinking of a refresh again, on the monotonic clock, in milliseconds. */
  servedUntil: number;
  /** When to look what other processes did, in milliseconds on either clock. */
  lookAgainAt: { readonly monotonic: number; readonly wall: number };
}

/** Callers that spell one URL in ever new ways must not fill the memory. */
const MOST_CACHED = 10_000;

/** Of so many logins it is known when each was forgotten; then all of them count as forgotten at once. */
const MOST_FORGOTTEN = 1_000;

export class TokenCache {
  readonly #cached = new Map<string, CachedToken>();
  /** By record id: what was found out of it before that epoch is not kept. */
  readonly #forgottenAt = new Map<string, number>();
  #epoch = 0;
  #allForgottenAt = 0;

  /** Changes when something is forgotten: what was found out before is not kept after. */
  get epoch(): number {
    return this.#epoch;
  }

  get(resource: string, account: string | undefined): CachedToken | undefined {
    const slot = this.#cached.get(key(resource, account));
    // Two names may have one key when a caller puts a NUL into either.
    return slot?.account === account ? slot : undefined;
  }

  /** @param epoch when the slot began to be made */
  set(epoch: number, resource: string, slot: CachedToken): void {
    if (epoch < (this.#forgottenAt.get(slot.id.recordId) ?? this.#allForgottenAt)) return;
    if (this.#cached.size >= MOST_CACHED) {
      for (const oldest of this.#cached.keys()) {
        this.#cached.delete(oldest);
        break;
      }
    }
    this.#cached.set(key(resource, slot.account), slot);
  }

  delete(resource: string, account: string | undefined): void {
    this.#cached.delete(key(resource, account));
  }

  /** @param id of that login alone; of all of them otherwise */
  forget(id?: CredentialId): void {
    this.#epoch += 1;
    if (id === undefined || this.#forgottenAt.size >= MOST_FORGOTTEN) {
      this.#allForgottenAt = this.#epoch;
      this.#forgottenAt.clear();
    } else this.#forgottenAt.set(id.recordId, this.#epoch);
    for (const [name, slot] of this.#cached) {
      if (id === undefined || slot.id.recordId === id.recordId) this.#cached.delete(name);
    }
  }

  /** Whatever is there is compared with the store before it is handed out again; it still serves if that does not answer. */
  lookAgain(): void {
    for (const slot of this.#cached.values()) slot.lookAgainAt = { monotonic: 0, wall: 0 };
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
