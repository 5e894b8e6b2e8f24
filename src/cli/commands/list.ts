import type { CredentialSummary } from '../../vault/results.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { withVault } from '../open-vault.ts';
import { relativeTime, table } from '../words.ts';

const MOST_SCOPES = 3;

export async function run(invocation: Invocation): Promise<number> {
  const { ui } = invocation;
  const listing = await withVault(invocation, (vault) => vault.list());
  if (ui.json) {
    ui.dataJson({
      credentials: listing.credentials.map((one) => ({
        ...one,
        expiresAt: iso(one.expiresAt),
        loggedInAt: iso(one.loggedInAt),
        since: iso(one.since),
      })),
      unopened: listing.unopened,
    });
    return EXIT.done;
  }
  if (listing.credentials.length > 0) {
    const now = Date.now();
    ui.data(
      table([
        ['RESOURCE', 'ACCOUNT', 'STATE', 'EXPIRES', 'SCOPES', 'KEYRING'],
        ...listing.credentials.map((one) => [
          one.resource,
          one.account,
          stateOf(one),
          expiryOf(one, now),
          scopesOf(one),
          `${one.keyring} (${one.tier})`,
        ]),
      ]),
    );
  } else if (listing.unopened.length === 0) {
    ui.note('No logins yet. Log in: holdfast login URL');
  }
  for (const { resource, reason } of listing.credentials) {
    if (reason !== undefined) ui.note(`${resource}: ${reason}`);
  }
  for (const { id, reason, hint } of listing.unopened) {
    ui.warn(`Record ${id.slice(0, 12)}… could not be opened. ${reason}`, hint);
  }
  return EXIT.done;
}

function stateOf({ state }: CredentialSummary): string {
  return state === 'stale' ? 'refreshes on use' : state === 'login-required' ? 'login required' : 'fresh';
}

function expiryOf({ expiresAt }: CredentialSummary, now: number): string {
  return expiresAt === undefined ? 'not said' : relativeTime(expiresAt, now);
}

function scopesOf({ scopes }: CredentialSummary): string {
  if (scopes.length === 0) return '-';
  const rest = scopes.length - MOST_SCOPES;
  return `${scopes.slice(0, MOST_SCOPES).join(' ')}${rest > 0 ? ` +${rest}` : ''}`;
}

function iso(moment: number | undefined): string | undefined {
  return moment === undefined ? undefined : new Date(moment).toISOString();
}
