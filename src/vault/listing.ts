import type { Credential } from '../credential.ts';
import type { Held, Unopened } from './custody.ts';
import { freshness } from './freshness.ts';
import type { CredentialState, CredentialSummary, UnopenedRecord } from './results.ts';

/** What may be shown of a credential. */
export function summaryOf({ credential, key }: Held, now: number): CredentialSummary {
  const { tokens, loginRequired } = credential;
  return {
    resource: credential.resource,
    account: credential.account,
    state: stateOf(credential, now),
    reason: loginRequired?.reason,
    since: loginRequired?.since,
    expiresAt: tokens.expiresAt,
    canRefresh: tokens.refreshToken !== undefined,
    scopes: credential.grantedScope?.split(' ').filter((scope) => scope !== '') ?? [],
    issuer: credential.server.issuer,
    clientId: credential.client.clientId,
    loggedInAt: credential.loggedInAt,
    generation: credential.generation,
    keyring: key.keyringId,
    tier: key.tier,
    kid: key.kid,
  };
}

export function summaryOfUnopened({ id, kid, error }: Unopened): UnopenedRecord {
  return { id, kid, code: error.code, reason: error.message, hint: error.hint };
}

function stateOf(credential: Credential, now: number): CredentialState {
  if (credential.loginRequired !== undefined) return 'login-required';
  if (freshness(credential, now) !== 'lapsed') return 'fresh';
  return credential.tokens.refreshToken === undefined ? 'login-required' : 'stale';
}
