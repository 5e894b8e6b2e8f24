import { loginCommand } from '../../credentials/login-required.ts';
import { displayUrl } from '../../display-url.ts';
import type { CredentialSummary } from '../../login/types.ts';
import { printable } from '../../quote.ts';
import { copiesWarning } from '../../vault/copies.ts';
import type { UndecryptableRecord } from '../../vault/types.ts';
import { unseenLeaseWarning } from '../../vault/unseen-lease.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { withVault } from '../open-vault.ts';
import { credentialJson } from '../output/credential-json.ts';
import type { Ui } from '../output/ui.ts';
import { byReason, isoTime, plural, relativeTime, table } from '../output/words.ts';

const MOST_SCOPES = 3;
const COLUMNS = ['RESOURCE', 'ACCOUNT', 'STATE', 'EXPIRES', 'SCOPES', 'KEYRING'];

export async function run(invocation: Invocation): Promise<number> {
  const { ui } = invocation;
  const {
    credentials,
    undecryptable,
    unseenLeases = [],
  } = await withVault(invocation, (vault) => vault.list());
  if (ui.json) {
    const leases = unseenLeases.map((one) => ({ ...one, since: isoTime(one.since) }));
    const told = leases.length > 0 ? { unseenLeases: leases } : {};
    ui.dataJson({ credentials: credentials.map(credentialJson), undecryptable, ...told });
    return EXIT.done;
  }
  if (credentials.length > 0) ui.data(tableOrBlocks(credentials.map(cellsOf), ui.columns));
  else if (undecryptable.length === 0) ui.note('No logins yet. Log in: holdfast login URL');
  for (const one of credentials) tellEnded(ui, one);
  for (const one of credentials) tellLeniencies(ui, one);
  for (const one of credentials) tellCopies(ui, one);
  for (const records of byReason(undecryptable)) tellUndecryptable(ui, records);
  for (const lease of unseenLeases) ui.warn(...unseenLeaseWarning(lease, Date.now()));
  return EXIT.done;
}

function cellsOf(one: CredentialSummary): readonly string[] {
  return [
    displayUrl(one.resource),
    one.account,
    STATES[one.state],
    one.expiresAt === undefined ? 'not said' : relativeTime(one.expiresAt, Date.now()),
    scopesOf(one),
    one.keyring === one.tier ? one.keyring : `${one.keyring} (${one.tier})`,
  ];
}

/** A table, or one block per login if the terminal would break the table's lines. */
function tableOrBlocks(rows: readonly (readonly string[])[], columns: number | undefined): string {
  const text = table([COLUMNS, ...rows]);
  if (columns === undefined || text.split('\n').every((line) => line.length <= columns)) return text;
  return rows
    .map((row) => row.map(printable))
    .map(([resource = '', ...cells]) =>
      [
        resource,
        ...cells.map((cell, index) => `  ${(COLUMNS[index + 1] ?? '').toLowerCase().padEnd(8)} ${cell}`),
      ].join('\n'),
    )
    .join('\n\n');
}

const STATES: Readonly<Record<CredentialSummary['state'], string>> = {
  fresh: 'fresh',
  stale: 'refreshes on use',
  refreshing: 'refreshing now',
  'login-required': 'login required',
};

function scopesOf({ scopes }: CredentialSummary): string {
  if (scopes.length === 0) return '-';
  const rest = scopes.length - MOST_SCOPES;
  return `${scopes.slice(0, MOST_SCOPES).join(' ')}${rest > 0 ? ` +${rest}` : ''}`;
}

function tellEnded(ui: Ui, { state, resource, account, since, reason, received }: CredentialSummary): void {
  if (received === 'access-token' && state === 'fresh') {
    ui.note(`${resource} was sent here as an access token alone: when it expires, nothing can renew it.`);
  }
  if (state !== 'login-required') return;
  if (received === 'access-token') {
    ui.warn(
      `The access token of ${resource} that was sent here has expired.`,
      `Have another one sent: holdfast receive ${resource}`,
    );
    return;
  }
  const when = since === undefined ? '' : ` ${relativeTime(since, Date.now())}`;
  ui.warn(
    `The login to ${resource}${account === 'default' ? '' : ` as ${account}`} ended${when}: ${reason ?? 'its access token has expired, and the server gave no refresh token with it.'}`,
    `Log in again: ${loginCommand(resource, account)}`,
  );
}

/** Names a login that needed a leniency, so that it stands out from the others. */
function tellLeniencies(ui: Ui, { resource, account, leniencies }: CredentialSummary): void {
  if (leniencies.length === 0) return;
  ui.note(
    `${resource}${account === 'default' ? '' : ` as ${account}`} was logged in to leniently: ${leniencies.join(', ')}.`,
  );
}

function tellCopies(ui: Ui, { resource, account, machines }: CredentialSummary): void {
  if (machines === undefined) return;
  ui.warn(...copiesWarning(`${resource}${account === 'default' ? '' : ` as ${account}`}`, machines));
}

function tellUndecryptable(ui: Ui, records: readonly UndecryptableRecord[]): void {
  const [first] = records;
  if (first === undefined) return;
  const ids = records.map(({ id }) => `${id.slice(0, 12)}…`).join(', ');
  ui.warn(
    `${plural(records.length, 'record does', 'records do')} not open (${ids}). ${first.reason}`,
    first.hint ??
      (first.code === 'record-damaged'
        ? 'Log in again where a login is missing above; the record is then moved to quarantine/, not deleted. Or remove it: holdfast logout --forget'
        : undefined),
  );
}
