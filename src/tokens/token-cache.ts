import type { Found, Held, Name } from '../credentials/sealed-credential-store.ts';
import type { Secret } from '../secret.ts';
import type { AccessToken, ProofRequest } from './access-token.ts';

/*
 * What this process may hand out again without asking anybody: the path that a caller takes for each request. It is looked
 * up by the very words of the caller, so that nothing is parsed on the way.
 */

/** A credential in memory, and until when it may be handed out without a look. */
export interface Slot {
  readonly name: Name;
  /** As the caller gave it. */
  readonly account: string | undefined;
  readonly id: string;
  readonly held: Held;
  readonly kids: string;
  readonly access: AccessToken;
  /** Until when it is served without thinking of a refresh again, on the monotonic clock, in milliseconds. */
  servedUntil: number;
  /** When to look what other processes did, in milliseconds on either clock. */
  lookAgainAt: { readonly monotonic: number; readonly wall: number };
}

/** Callers that spell one URL in ever new ways must not fill the memory. */
const MOST_SLOTS = 10_000;

export class Slots {
  readonly #slots = new Map<string, Slot>();
  #epoch = 0;

  /** Changes when everything is forgotten: what was found out before is not kept after. */
  get epoch(): number {
    return this.#epoch;
  }

  get(resource: string, account: string | undefined): Slot | undefined {
    const slot = this.#slots.get(key(resource, account));
    // Two names may have one key when a caller puts a NUL into either.
    return slot?.account === account ? slot : undefined;
  }

  /** @param epoch when the slot began to be made */
  set(epoch: number, resource: string, slot: Slot): void {
    if (epoch !== this.#epoch) return;
    if (this.#slots.size >= MOST_SLOTS) {
      for (const oldest of this.#slots.keys()) {
        this.#slots.delete(oldest);
        break;
      }
    }
    this.#slots.set(key(resource, slot.account), slot);
  }

  delete(resource: string, account: string | undefined): void {
    this.#slots.delete(key(resource, account));
  }

  forget(): void {
    this.#epoch += 1;
    this.#slots.clear();
  }
}

function key(resource: string, account: string | undefined): string {
  return account === undefined ? resource : `${resource}\0${account}`;
}

export async function slotOf(
  name: Name,
  account: string | undefined,
  { held, kids }: Found,
  servedUntil: number,
): Promise<Slot> {
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
    name,
    account,
    id: held.address.id,
    held,
    kids: kids.join(),
    access,
    servedUntil,
    lookAgainAt: { monotonic: 0, wall: 0 },
  };
}

async function proofWith(key: Secret, accessToken: Secret): Promise<(request: ProofRequest) => string> {
  const { dpopProof } = await import('../oauth/dpop.ts');
  return (request) => dpopProof(key, { ...request, accessToken });
}
