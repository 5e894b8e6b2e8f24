import type { Credential } from '../credential.ts';
import { MOVED } from '../credentials/login-required.ts';
import type { Custody, Held, Name } from '../credentials/sealed-credential-store.ts';
import { AbortedError, HoldfastError, OAuthError } from '../errors.ts';
import type { RequestOptions } from '../http/request.ts';
import { withEndpoints } from '../refresh/with-endpoints.ts';
import { summaryOfUnopened } from './listing.ts';
import type { LogoutOptions, LogoutResult } from './results.ts';

/** A refresh that is under way may end first, at its own timeout: its new tokens are then the ones to revoke. */
const LEASE_WAIT_MS = 100_000;

/** A server that does not answer must not keep the person logged in on this machine. */
const REVOCATION_TIMEOUT_MS = 10_000;

/**
 * Revokes the tokens at the authorization server (RFC 7009) and removes every record of that login that can be opened.
 * What is here is removed even when the server cannot be told.
 *
 * @param newest the same credential with tokens that its store could not take, where there are such; under the lease
 */
export async function logOut(
  name: Name,
  options: LogoutOptions,
  custody: Custody,
  newest: (held: Held) => Promise<Held>,
): Promise<LogoutResult> {
  const { held, unopened } = await custody.list(name);
  const wait = { signal: options.signal, timeoutMs: REVOCATION_TIMEOUT_MS };
  let removed = 0;
  let offered = false;
  let alive = false;
  let reason: string | undefined;
  for (const found of held) {
    const lease = await custody.lease(found, { waitMs: LEASE_WAIT_MS, signal: options.signal });
    try {
      // A login takes no lease. When one comes in between, it is ended like the one before.
      for (let gone = false; !gone; ) {
        const stored = await custody.reread(found);
        if (stored === undefined) break;
        const current = await newest(stored);
        // What moved away is not ours to revoke.
        if (current.credential.loginRequired?.error !== MOVED) alive = true;
        try {
          const known = await withEndpoints(current.credential, wait);
          if (known.server.revocationEndpoint !== undefined) {
            offered = true;
            await revoke(known, wait);
          }
        } catch (error) {
          if (!(error instanceof HoldfastError) || error instanceof AbortedError) throw error;
          reason = error.message;
        }
        gone = await custody.remove(current);
        if (gone) removed += 1;
      }
      await custody.removeSpilled(found);
    } finally {
      await lease.release();
    }
  }
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
    unopened: unopened.map(summaryOfUnopened),
  };
}

/** The refresh token first: with it the server ends the whole grant (RFC 7009 section 2.1); then the access token. */
async function revoke({ server, client, tokens }: Credential, wait: RequestOptions): Promise<void> {
  if (server.revocationEndpoint === undefined) return;
  const { revokeToken } = await import('../oauth/revocation.ts');
  const at = { ...server, revocationEndpoint: server.revocationEndpoint };
  if (tokens.refreshToken !== undefined) {
    await revokeToken(at, client, tokens.refreshToken, 'refresh_token', wait);
  }
  try {
    await revokeToken(at, client, tokens.accessToken, 'access_token', wait);
  } catch (error) {
    // RFC 7009 section 2.2.1: a server cannot take back what it does not keep, such as a JWT. With the refresh token gone
    // the login has ended, and that token lapses by itself.
    const kept = error instanceof OAuthError && error.error === 'unsupported_token_type';
    if (!kept || tokens.refreshToken === undefined) throw error;
  }
}
