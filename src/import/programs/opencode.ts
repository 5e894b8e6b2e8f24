import { createHash } from 'node:crypto';
import { dirname, isAbsolute, join } from 'node:path';
import { isThere, namesIn } from '../../system/files/client-file.ts';
import { underHeartbeatDirectory } from '../../system/locks/external-lock.ts';
import { urlOf } from '../configured-servers.ts';
import { momentAt, objectAt, objectOf, secretAt, textAt } from '../fields.ts';
import type { Findings, Skipped, Source, SourceContext } from '../source.ts';
import { findIn, JSON_CODEC, type StoredEntry } from '../source-file.ts';

/*
 * opencode 1, which saves its logins in a JSON file. The database of its newer core is reported, not read. Only the
 * tokens are taken; their registration stays.
 */

/** After this time without a heartbeat opencode itself treats a lock as stale, in milliseconds. */
const STALE_MS = 60_000;

export const OPENCODE: Source = {
  id: 'opencode',
  title: 'opencode',
  afterwards: 'opencode asks for opencode mcp auth again where it is still to use that server itself',
  find: async (context) => {
    const path = context.file ?? join(directoryOf(context, 'XDG_DATA_HOME', '.local/share'), 'mcp-auth.json');
    const found = await findIn([
      {
        path,
        codec: JSON_CODEC,
        entries: (values) =>
          Promise.all(
            Object.entries(objectOf(values) ?? {}).map(([name, one]) => entryOf(name, one, context)),
          ),
        lock: (write) => underLock(path, context, write),
      },
    ]);
    return found.logins.length > 0 || context.file !== undefined
      ? found
      : withDatabases(found, dirname(path));
  },
  lock: underLock,
};

function directoryOf({ environment }: SourceContext, variable: string, usual: string): string {
  const given = environment.variables[variable];
  const home = given && isAbsolute(given) ? given : join(environment.homeDirectory, ...usual.split('/'));
  return join(home, 'opencode');
}

/**
 * Locks in opencode's directory of locks, under the hash of its name for the lock. A version without that directory
 * does not lock.
 */
async function underLock<T>(path: string, context: SourceContext, write: () => Promise<T>): Promise<T> {
  const locks = join(directoryOf(context, 'XDG_STATE_HOME', '.local/state'), 'locks');
  if (!(await isThere(locks))) return write();
  const name = createHash('sha1').update(`mcp-auth:${path}`).digest('hex');
  const lock = join(locks, `${name}.lock`);
  return underHeartbeatDirectory(lock, { staleMs: STALE_MS, waitMs: STALE_MS + 5_000 }, write);
}

/** Users of only the newer core must not read that opencode has no logins. */
async function withDatabases(found: Findings, directory: string): Promise<Findings> {
  const databases = (await namesIn(directory)).filter((name) => /^opencode(-[\w.-]+)?\.db$/.test(name));
  const skipped = databases.map((name): Skipped => {
    const reason =
      'newer versions of opencode keep logins in this database, which Holdfast does not read: log in here instead';
    return { name, file: join(directory, name), reason };
  });
  return { ...found, skipped: [...found.skipped, ...skipped] };
}

async function entryOf(name: string, value: unknown, context: SourceContext): Promise<StoredEntry> {
  const tokens = objectAt(value, 'tokens');
  const path = [name, 'tokens'];
  const accessToken = secretAt(tokens, 'accessToken');
  if (accessToken === undefined) return { name, path, content: { reason: 'nobody is logged in there' } };
  const url =
    textAt(objectOf(value), 'serverUrl') ?? urlOf(await context.configured(), 'opencode', name) ?? '';
  const client = objectAt(value, 'clientInfo');
  const id = textAt(client, 'clientId');
  const login = {
    from: 'opencode',
    resource: url,
    accessToken,
    refreshToken: secretAt(tokens, 'refreshToken'),
    expiresAt: momentAt(tokens, 'expiresAt', 'seconds'),
    scope: textAt(tokens, 'scope'),
    client:
      id === undefined
        ? undefined
        : {
            id,
            secret: secretAt(client, 'clientSecret'),
            secretExpiresAt: momentAt(client, 'clientSecretExpiresAt', 'seconds'),
          },
  };
  return { name, path, content: { login } };
}
