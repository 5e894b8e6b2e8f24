import { type Credential, isRenewable } from '../credential.ts';
import type { StoredCredential, Undecryptable } from '../credentials/credential-store.ts';
import { freshness, lapsesAt, tokenAge } from '../credentials/token-age.ts';
import type { SealingKeys } from '../keyring/sealing-key.ts';
import type { CredentialState, CredentialSummary, LoginResult } from '../login/types.ts';
import { type Moment, thisMoment } from '../system/clock.ts';
import type { UndecryptableRecord } from './types.ts';

/**
 * The parts of a credential that may be shown.
 *
 * @param leased whether a process is refreshing it now
 */
export function summaryOf(
  { credential, key }: StoredCredential,
  now: Moment,
  leased: boolean,
): CredentialSummary {
  const { tokens, loginRequired } = credential;
  return {
    resource: credential.resource,
    account: credential.account,
    state: credentialStateOf(credential, now, leased),
    reason: loginRequired?.reason,
    since: loginRequired?.since,
    expiresAt: lapsesAt(credential, now),
    canRefresh: isRenewable(credential),
    scopes: credential.grantedScope?.split(' ').filter((scope) => scope !== '') ?? [],
    issuer: credential.server.issuer,
    clientId: credential.client.clientId,
    clientSource: credential.client.source,
    grant: credential.grant?.type ?? 'authorization_code',
    tokenType: tokens.tokenType,
    received: credential.received?.mode,
    leniencies: credential.leniencies ?? [],
    loggedInAt: credential.loggedInAt,
    generation: credential.generation,
    keyring: key.keyringId,
    tier: key.tier,
    kid: key.kid,
  };
}

export function summaryOfUndecryptable({ id, kid, error, file }: Undecryptable): UndecryptableRecord {
  return { id, kid, code: error.code, reason: error.message, hint: error.hint, file };
}

function credentialStateOf(credential: Credential, now: Moment, leased: boolean): CredentialState {
  if (credential.loginRequired !== undefined) return 'login-required';
  if (leased) return 'refreshing';
  // A token that seems to come from the future may have any age. Its next use refreshes it.
  const isDated = tokenAge(credential.tokens, now) !== undefined;
  if (freshness(credential, now) !== 'lapsed' && (isDated || !isRenewable(credential))) return 'fresh';
  return isRenewable(credential) ? 'stale' : 'login-required';
}

/** The result of a login, for its caller. */
export function loginResult(held: StoredCredential, keys: Pick<SealingKeys, 'reports'>): LoginResult {
  return {
    credential: summaryOf(held, thisMoment(), false),
    keyring: { id: held.key.keyringId, tier: held.key.tier, lifetime: held.key.lifetime },
    tiers: keys.reports(),
  };
}
