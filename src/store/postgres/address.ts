import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../../system/environment.ts';
import { isUncheckedTls } from '../engine/unchecked-tls.ts';

/*
 * Parses `postgres://user@host:port/database?…`, as PostgreSQL’s own programs take it, with three settings of ours.
 * Values that are missing in the URL come from PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD and PGREQUIREPEER.
 */

export interface PostgresAddress {
  /** For `pg`; may contain the password. */
  readonly connectionString: string;
  /** For people: no user, no password. */
  readonly shown: string;
  readonly tenant: string | undefined;
  readonly schema: string | undefined;
  readonly poolMax: number | undefined;
  /**
   * The user of this machine that must run the server, when it is reached over a Unix socket (libpq's `requirepeer`).
   */
  readonly requirePeer: string | undefined;
  /** Whether the server is reached over a Unix socket. */
  readonly isSocket: boolean;
  /** Whether the URL sets TLS itself: `pg` then ignores its other TLS options. */
  readonly saysTls: boolean;
  /**
   * The power of an attacker on the network: to read everything (`plain`), or to impersonate the server, because no
   * certificate is checked (`unchecked`). Otherwise `undefined`.
   */
  readonly exposed: 'plain' | 'unchecked' | undefined;
}

const OURS = ['tenant', 'schema', 'pool_max'];
const THEIRS = [
  'application_name',
  'host',
  'port',
  'requirepeer',
  'ssl',
  'sslcert',
  'sslkey',
  'sslmode',
  'sslnegotiation',
  'sslrootcert',
  'uselibpqcompat',
];

/** @throws InvalidArgumentError, which does not show the URL: there may be a password in it */
export function postgresAddress(
  text: string,
  { variables }: Pick<Environment, 'variables'>,
): PostgresAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['postgres:', 'postgresql:'].includes(url.protocol)) {
    throw new InvalidArgumentError('The address of the PostgreSQL store is not a postgres:// URL.', {
      hint: 'It looks like postgres://user@host/database?sslmode=verify-full, the password in PGPASSWORD. Characters such as @, / and # in it must be percent-encoded.',
    });
  }
  const parameters = url.searchParams;
  for (const name of parameters.keys()) {
    if (OURS.includes(name) || THEIRS.includes(name)) continue;
    throw new InvalidArgumentError(
      `The PostgreSQL URL has a setting that is not known: ${quote(name, 60)}.`,
      {
        hint: `These are: ${[...OURS, ...THEIRS].join(', ')}.`,
      },
    );
  }
  const tenant = parameters.get('tenant') ?? undefined;
  const schema = parameters.get('schema') ?? undefined;
  const poolMax = parameters.has('pool_max') ? Number(parameters.get('pool_max')) : undefined;
  const requirePeer = parameters.get('requirepeer') || variables['PGREQUIREPEER'] || undefined;
  // `pg` does not know `requirepeer`.
  for (const name of [...OURS, 'requirepeer']) parameters.delete(name);
  if (url.hostname === '' && !parameters.has('host'))
    parameters.set('host', variables['PGHOST'] || 'localhost');
  if (url.port === '' && !parameters.has('port')) parameters.set('port', variables['PGPORT'] || '5432');
  const user = decoded(url.username) || variables['PGUSER'] || variables['USER'] || '';
  const password = decoded(url.password) || variables['PGPASSWORD'] || '';
  const database = decoded(url.pathname.slice(1)) || variables['PGDATABASE'] || user;
  const host = parameters.get('host') ?? decoded(url.hostname);
  const port = parameters.get('port') ?? url.port;
  const authority = user === '' ? '' : `${encode(user)}${password === '' ? '' : `:${encode(password)}`}@`;
  const query = parameters.size === 0 ? '' : `?${parameters.toString()}`;
  const isSocket = host.startsWith('/');
  const local = isSocket || ['localhost', '127.0.0.1', '[::1]', '::1'].includes(host);
  const named = parameters.get('sslmode') ?? (parameters.get('ssl') || undefined);
  const hasFiles = ['sslcert', 'sslkey', 'sslrootcert'].some((name) => parameters.get(name));
  const mode = named ?? (hasFiles ? 'verify-full' : variables['PGSSLMODE']);
  const exposed = exposureOf(mode, parameters.get('uselibpqcompat') === 'true');
  const isUnchecked = exposed === undefined && isUncheckedTls(undefined, variables);
  return {
    connectionString: `postgres://${authority}${url.host}/${encode(database)}${query}`,
    shown: `postgres://${isSocket ? '' : `${host}:${port}`}/${encode(database)}`,
    tenant,
    schema,
    poolMax,
    requirePeer,
    isSocket,
    saysTls: named !== undefined || hasFiles,
    exposed: local ? undefined : isUnchecked ? 'unchecked' : exposed,
  };
}

/**
 * `pg` checks certificates with `prefer`, `require` and `verify-ca` too, unless it must follow libpq
 * (`uselibpqcompat`).
 */
function exposureOf(mode: string | undefined, asLibpq: boolean): 'plain' | 'unchecked' | undefined {
  if ([undefined, '', 'disable', 'prefer', 'allow', 'false', '0'].includes(mode)) return 'plain';
  return mode === 'no-verify' || (asLibpq && mode === 'require') ? 'unchecked' : undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new InvalidArgumentError('The PostgreSQL URL has a % in it that encodes nothing.', {
      hint: 'Write %25 for a percent sign.',
    });
  }
}

function encode(text: string): string {
  return encodeURIComponent(text);
}
