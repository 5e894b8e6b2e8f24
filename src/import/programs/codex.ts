import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { ExternalItem } from '../../keyring/external/external-item.ts';
import type { Environment } from '../../system/environment.ts';
import { isThere } from '../../system/files/client-file.ts';
import { momentAt, objectAt, objectOf, scopeAt, secretAt, textAt, wireTokens } from '../fields.ts';
import { filesLocation, findInAll, type SourceLocation } from '../locations.ts';
import type { Findings, Source, SourceContext } from '../source.ts';
import { JSON_CODEC, type StoredEntry } from '../source-file.ts';
import { jsonIn, type KeyringEntry, type KeyringStore, keyringLocation } from '../source-keyring.ts';
import { underSourceLock } from '../source-lock.ts';

/*
 * Codex: one item of the OS keyring for each server, or `.credentials.json`. Codex uses the file if it found no
 * keyring, or with `mcp_oauth_credentials_store = "file"`. Both may exist; each login is taken from its own store. The
 * encrypted file (`secrets/mcp_oauth.age`) is reported, not read.
 */

const SERVICE = 'Codex MCP Credentials';
/** The prefix of an item that Codex's keyring layer has split into several. */
const IN_PIECES = 'CODEX_CHUNKED:';

export const CODEX: Source = {
  id: 'codex',
  title: 'Codex',
  afterwards: 'Codex asks for codex mcp login again where it is still to use that server itself',
  find: (context) => {
    const home = codexHome(context.environment);
    const file = filesLocation([
      {
        path: context.file ?? join(home, '.credentials.json'),
        codec: JSON_CODEC,
        entries: (values) =>
          Object.entries(objectOf(values) ?? {}).map(([key, value]) => entryOf(key, value)),
        lock: (write, key) => underCredentialLock(home, key, () => underFileLock(home, write)),
      },
    ]);
    return findInAll([
      file,
      keyringLocation(context, keyringStore(home, context)),
      encryptedFile(home, context),
    ]);
  },
  lock: (_, { environment }, write) => underFileLock(codexHome(environment), write),
};

function underFileLock<T>(home: string, step: () => Promise<T>): Promise<T> {
  return underSourceLock(join(home, 'mcp-oauth-locks', 'file-store.lock'), {}, step);
}

function codexHome({ variables, homeDirectory }: Environment): string {
  return variables['CODEX_HOME'] || join(homeDirectory, '.codex');
}

/** Runs the step under the lock that Codex holds for a refresh. Its name comes from the login's name in both stores. */
function underCredentialLock<T>(home: string, key: string, step: () => Promise<T>): Promise<T> {
  const name = `${createHash('sha256').update(key).digest('hex')}.lock`;
  return underSourceLock(join(home, 'mcp-oauth-locks', name), {}, step);
}

function keyringStore(home: string, context: SourceContext): KeyringStore {
  return {
    service: SERVICE,
    layout: 'keyring-crate',
    kernelCopy: true,
    accounts: async () =>
      (await context.configured())
        .filter(({ client }) => client === 'codex')
        .flatMap(({ name, url }) => accountsOf(name, url)),
    entries: (items) => items.map(keyringEntry),
    lock: (write, key) => underCredentialLock(home, key, write),
  };
}

/** The server's name, and 16 hexadecimal digits of a hash of its description. */
function accountsOf(name: string, url: string): string[] {
  // The key order of a serde_json map depends on its build: insertion order or alphabetical.
  const abouts = [
    { type: 'http', url, headers: {} },
    { headers: {}, type: 'http', url },
  ];
  return abouts.map((about) => {
    const hash = createHash('sha256').update(JSON.stringify(about)).digest('hex');
    return `${name}|${hash.slice(0, 16)}`;
  });
}

function keyringEntry({ account, text }: ExternalItem): KeyringEntry {
  const about = { account, name: account, path: [] };
  if (text.startsWith(IN_PIECES)) {
    const reason = 'Codex has cut it into several items, which Holdfast does not put together';
    return { ...about, content: { reason } };
  }
  const values = objectOf(jsonIn(text));
  const url = textAt(values, 'url');
  const tokens = wireTokens(objectAt(values, 'token_response'), undefined);
  if (url === undefined || tokens === undefined) {
    return { ...about, content: { reason: 'it is no login to an MCP server' } };
  }
  const id = textAt(values, 'client_id');
  const login = {
    from: 'codex',
    resource: url,
    ...tokens,
    expiresAt: momentAt(values, 'expires_at') ?? tokens.expiresAt,
    client: id === undefined ? undefined : { id },
  };
  return { ...about, content: { login } };
}

function entryOf(key: string, value: unknown): StoredEntry {
  const entry = objectOf(value);
  const url = textAt(entry, 'server_url');
  const accessToken = secretAt(entry, 'access_token');
  if (url === undefined || accessToken === undefined) {
    return { name: key, path: [key], content: { reason: 'it is no login to an MCP server' } };
  }
  const id = textAt(entry, 'client_id');
  const login = {
    from: 'codex',
    resource: url,
    accessToken,
    refreshToken: secretAt(entry, 'refresh_token'),
    expiresAt: momentAt(entry, 'expires_at'),
    scope: scopeAt(entry, 'scopes'),
    client: id === undefined ? undefined : { id },
  };
  return { name: key, path: [key], content: { login } };
}

function encryptedFile(home: string, context: SourceContext): SourceLocation {
  const path = join(home, 'secrets', 'mcp_oauth.age');
  return { where: path, found: findEncrypted(path, context) };
}

async function findEncrypted(path: string, { file }: SourceContext): Promise<Findings> {
  if (file !== undefined || !(await isThere(path))) return { logins: [], skipped: [], searched: [] };
  const reason =
    'it is encrypted with age, which Holdfast does not read: have Codex keep its logins in the OS keyring or in a file, or log in here with holdfast login URL';
  return { logins: [], skipped: [{ name: 'mcp_oauth.age', file: path, reason }], searched: [path] };
}
