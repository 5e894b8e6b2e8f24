import type { Credential, CredentialId } from '../credential.ts';
import { loginNear, MOVED } from '../credentials/login-required.ts';
import type { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import { AbortedError, HoldfastError } from '../errors.ts';
import type { ReusePolicy } from '../refresh/reuse-policy.ts';
import { revokeTokens } from '../refresh/revoke.ts';
import type { Environment } from '../system/environment.ts';
import { summaryOfUndecryptable } from './listing.ts';
import type { LogoutOptions, LogoutResult } from './types.ts';

/** Time limit for a revocation, in milliseconds: a server that hangs must not keep the user logged in here. */
const REVOCATION_TIMEOUT_MS = 10_000;

export interface LogoutContext {
  readonly credentialStore: SealedCredentialStore;
  readonly policy: ReusePolicy;
  readonly environment: Environment;
}

/**
 * Revokes the tokens at the authorization server (RFC 7009) and removes every record of that login that can be opened.
 * It removes the records even if the server cannot be reached.
 */
export async function logOut(
  id: CredentialId,
  { signal }: LogoutOptions,
  { credentialStore, policy, environment }: LogoutContext,
): Promise<LogoutResult> {
  const { held, undecryptable } = await credentialStore.list(id);
  let removed = 0;
  let offered = false;
  let alive = false;
  let reason: string | undefined;
  let hasMoved = false;
  const ended: Credential[] = [];
  // The record of the strongest key goes last: a logout that is killed halfway must not revive an earlier login.
  for (const found of held.toReversed()) {
    const lease = credentialStore.lease(found);
    try {
      // A login, or another holder, may have changed the record in between. Then end its new state in the same way.
      for (;;) {
        const current = await lease.begin(await policy.patience(found.credential, signal));
        if (current === undefined) break;
        // This machine must not revoke a login that moved away.
        if (current.credential.loginRequired?.error === MOVED) hasMoved = true;
        else alive = true;
        try {
          const wait = { signal, timeoutMs: REVOCATION_TIMEOUT_MS, environment };
          if ((await revokeTokens(current.credential, wait)) === 'revoked') offered = true;
          ended.push(current.credential);
        } catch (error) {
          if (!(error instanceof HoldfastError) || error instanceof AbortedError) throw error;
          offered = true;
          reason = error.message;
        }
        const isGone = await lease.remove(current);
        if (isGone) removed += 1;
        if (isGone) break;
        await lease.release();
      }
    } finally {
      await lease.release();
    }
  }
  // Ends the answers that a dead process saved meanwhile.
  if (!hasMoved) await credentialStore.endRemoved(id, ended);
  return {
    removed,
    revocation:
      removed === 0 || !alive
        ? 'nothing'
        : reason !== undefined
          ? 'failed'
          : offered
            ? 'revoked'
            : 'not-offered',
    reason,
    undecryptable: undecryptable.map(summaryOfUndecryptable),
    near: held.length + undecryptable.length > 0 ? undefined : await loginNear(id, credentialStore),
  };
}
