import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { Secret } from '../../secret.ts';

/*
 * Parses `redis://user:password@host:port/number?…`, or `rediss://` for TLS, as `redis-cli -u` takes it, with settings
 * of ours. A password that is missing in the URL comes from REDISCLI_AUTH, which redis-cli reads too.
 */

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
  readonly username: string | undefined;
  readonly password: Secret | undefined;
  /** The number of the database. */
  readonly db: number;
  readonly tls: boolean;
  readonly cluster: boolean;
  readonly tenant: string | undefined;
  readonly prefix: string | undefined;
  readonly durability: 'none' | undefined;
  readonly allowEviction: boolean | undefined;
  /** For people: no user, no password. */
  readonly shown: string;
  /** Whether the connection leaves this machine. */
  readonly isRemote: boolean;
}

const SETTINGS: Readonly<Record<string, RegExp>> = {
  tenant: /./s,
  prefix: /./s,
  durability: /^none$/,
  eviction: /^allow$/,
  cluster: /^(true|false)$/,
};

/** @throws InvalidArgumentError, which does not show the URL: there may be a password in it */
export function redisAddress(
  text: string,
  variables: Readonly<Record<string, string | undefined>>,
): RedisAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['redis:', 'rediss:'].includes(url.protocol) || url.hostname === '') {
    throw new InvalidArgumentError('The address of the Redis store is not a redis:// or rediss:// URL.', {
      hint: 'It looks like rediss://user@host:6379/0, the password in REDISCLI_AUTH. Characters such as @, / and # in it must be percent-encoded.',
    });
  }
  for (const [name, value] of url.searchParams) {
    const allowed = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
    if (allowed === undefined) {
      throw new InvalidArgumentError(`The Redis URL has a setting that is not known: ${quote(name, 60)}.`, {
        hint: `These are: ${Object.keys(SETTINGS).join(', ')}.`,
      });
    }
    if (allowed.test(value)) continue;
    throw new InvalidArgumentError(`The Redis URL sets ${name} to ${quote(value, 60)}.`, {
      hint: 'These are understood: durability=none, eviction=allow, cluster=true.',
    });
  }
  const path = url.pathname.replace(/^\/$/, '');
  if (!/^(\/\d{1,5})?$/.test(path)) {
    throw new InvalidArgumentError(
      `The Redis URL names its database ${quote(path.slice(1), 60)}, which is no number.`,
      { hint: 'Redis numbers its databases: /0 is the first, and the only one of a cluster.' },
    );
  }
  if (url.searchParams.get('cluster') === 'true' && Number(path.slice(1)) > 0) {
    throw new InvalidArgumentError(`The Redis URL names database ${path.slice(1)} of a cluster.`, {
      hint: 'A cluster has only the first: leave the number out.',
    });
  }
  const tls = url.protocol === 'rediss:';
  const port = url.port === '' ? 6379 : Number(url.port);
  const db = Number(path.slice(1));
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const password = decoded(url.password) || variables['REDISCLI_AUTH'] || '';
  const setting = (name: string) => url.searchParams.get(name) ?? undefined;
  return {
    host,
    port,
    username: decoded(url.username) || undefined,
    password: password === '' ? undefined : new Secret(password),
    db,
    tls,
    cluster: setting('cluster') === 'true',
    tenant: setting('tenant'),
    prefix: setting('prefix'),
    durability: setting('durability') === 'none' ? 'none' : undefined,
    allowEviction: setting('eviction') === 'allow' ? true : undefined,
    shown: `${url.protocol}//${url.hostname}:${port}/${db}`,
    isRemote: !['localhost', '127.0.0.1', '::1'].includes(host),
  };
}

/**
 * Checks a name that becomes part of the keys.
 *
 * @throws InvalidArgumentError
 */
export function checkedName(what: 'tenant' | 'prefix', name: string): string {
  if (/^[\w.@:-]{1,128}$/.test(name)) return name;
  throw new InvalidArgumentError(`The ${what} of the Redis store is ${quote(name, 60)}.`, {
    hint: 'It goes into the names of keys: at most 128 letters, digits and . _ - @ : are possible.',
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new InvalidArgumentError('The Redis URL has a % in it that encodes nothing.', {
      hint: 'Write %25 for a percent sign.',
    });
  }
}
