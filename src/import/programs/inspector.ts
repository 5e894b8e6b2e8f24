import { dirname, join } from 'node:path';
import { readClientFile } from '../../system/files/client-file.ts';
import { underLockDirectory } from '../../system/locks/external-lock.ts';
import { parsePlainJson } from '../../values/plain-values.ts';
import { type Fields, objectAt, objectOf, secretAt, textAt, wireClient, wireTokens } from '../fields.ts';
import { filesLocation, findInAll } from '../locations.ts';
import type { Findings, Source, SourceContext } from '../source.ts';
import { type Codec, JSON_CODEC, type StoredEntry, type StoreFile } from '../source-file.ts';
import { jsonIn, keyringLocation } from '../source-keyring.ts';
import { inspectorPassphrase, secretsCodec } from './inspector-secrets.ts';

/*
 * MCP Inspector 2. `oauth.json` lists its clients at the servers and authorization servers. The tokens are in the OS
 * keyring, in `secrets.json`, which may be encrypted, or in `oauth.json` itself. The Inspector never records when it
 * wrote a token.
 */

const SERVICE = 'mcp-inspector';

/** After this time the Inspector itself treats its lock as stale, in milliseconds. */
const STALE_MS = 10_000;

export const INSPECTOR: Source = {
  id: 'inspector',
  title: 'MCP Inspector',
  afterwards: 'the Inspector asks for a login again where it is still to use that server itself',
  find,
  lock: (path, _, write) => underLock(path, write),
};

async function find(context: SourceContext): Promise<Findings> {
  const { oauth, secrets } = pathsOf(context);
  const state = await valuesIn(oauth);
  const servers = objectAt(state, 'servers');
  const codec = secretsCodec(await inspectorPassphrase(context.environment));
  const files = filesLocation([
    locked(oauth, JSON_CODEC, (values) =>
      Object.entries(objectAt(values, 'servers') ?? {}).flatMap(([url, server]) =>
        Object.entries(objectAt(server, 'byIssuer') ?? {}).flatMap(([issuer, one]) => {
          const tokens = objectAt(one, 'tokens');
          const path = ['servers', url, 'byIssuer', issuer, 'tokens'];
          // Without tokens here, they are in another store, or nobody is logged in.
          return tokens === undefined ? [] : [entryOf(url, issuer, tokens, objectOf(one), path)];
        }),
      ),
    ),
    locked(secrets, codec, (values) => {
      const problem = textAt(objectOf(values), 'problem');
      if (problem !== undefined) {
        const reason = `it is encrypted, and cannot be opened: ${problem}`;
        return [{ name: 'secrets.json', path: [], content: { reason } }];
      }
      return entriesIn(objectAt(values, 'secrets') ?? {}, servers).map(({ key, entry }) => ({
        ...entry,
        path: ['secrets', key],
      }));
    }),
  ]);
  const inKeyring = keyringLocation(context, {
    service: SERVICE,
    layout: 'keyring-crate',
    accounts: () => accountsOf(state),
    entries: (items) =>
      entriesIn(Object.fromEntries(items.map(({ account, text }) => [account, text])), servers).map(
        ({ key, entry }) => ({ ...entry, account: key }),
      ),
  });
  return findInAll([files, inKeyring]);
}

/** The logins among secrets, by `<account>:<field>`. Each has an empty path. */
function entriesIn(
  all: Fields,
  servers: Fields | undefined,
): readonly { readonly key: string; readonly entry: StoredEntry }[] {
  return Object.entries(all).flatMap(([key, value]) => {
    // `oauth+<namespace>+<URL>`; without a namespace, `oauth+<URL>`.
    const [, account = '', url = '', issuer = ''] =
      /^(oauth\+(?:[^+:]*\+)?([^+:]+)):tokens:(.+)$/s.exec(key) ?? [];
    const server = decoded(url);
    if (server === undefined) return [];
    const about = objectAt(servers, server, 'byIssuer', issuer);
    const secret = secretAt(all, `${account}:client-secret:${issuer}`);
    const entry = entryOf(server, issuer, objectOf(jsonIn(String(value))), about, []);
    if ('reason' in entry.content || secret === undefined) return [{ key, entry }];
    const { client } = entry.content.login;
    const login = {
      ...entry.content.login,
      client: client && { ...client, secret: client.secret ?? secret },
    };
    return [{ key, entry: { ...entry, content: { login } } }];
  });
}

/** The accounts that the state names, for keyrings that cannot be searched. */
function accountsOf(state: unknown): string[] {
  const namespace = textAt(objectOf(state), 'secretsNamespace');
  const prefix = namespace === undefined ? 'oauth+' : `oauth+${namespace}+`;
  return Object.entries(objectAt(state, 'servers') ?? {}).flatMap(([url, server]) =>
    Object.keys(objectAt(server, 'byIssuer') ?? {}).flatMap((issuer) =>
      ['tokens', 'client-secret'].map((field) => `${prefix}${encodeURIComponent(url)}:${field}:${issuer}`),
    ),
  );
}

/** With `--file`: the Inspector's directory, or `oauth.json` in its directory `storage`. */
function pathsOf({ file, environment }: SourceContext): { oauth: string; secrets: string } {
  const { variables, homeDirectory } = environment;
  if (file !== undefined) {
    const isFile = file.endsWith('.json');
    return {
      oauth: isFile ? file : join(file, 'storage', 'oauth.json'),
      secrets: join(isFile ? dirname(dirname(file)) : file, 'secrets.json'),
    };
  }
  const root = join(homeDirectory, '.mcp-inspector');
  const moved = variables['MCP_STORAGE_DIR'];
  return {
    oauth: variables['MCP_INSPECTOR_OAUTH_STATE_PATH'] || join(moved || join(root, 'storage'), 'oauth.json'),
    secrets: variables['MCP_INSPECTOR_SECRET_FILE'] || join(moved || root, 'secrets.json'),
  };
}

function locked(path: string, codec: Codec, entries: StoreFile['entries']): StoreFile {
  return { path, codec, entries, lock: (write) => underLock(path, write) };
}

function underLock<T>(path: string, write: () => Promise<T>): Promise<T> {
  return underLockDirectory(`${path}.lock`, { staleMs: STALE_MS, waitMs: STALE_MS + 5_000 }, write);
}

function entryOf(
  url: string,
  issuer: string,
  wire: Fields | undefined,
  about: Fields | undefined,
  path: readonly string[],
): StoredEntry {
  const name = `${url} at ${issuer}`;
  const tokens = wireTokens(wire, undefined);
  if (tokens === undefined) return { name, path, content: { reason: 'it holds no access token' } };
  const client = wireClient(objectAt(about, 'clientInformation'));
  return { name, path, content: { login: { from: 'inspector', resource: url, ...tokens, client, issuer } } };
}

/**
 * Ignores a damaged file, since these values only add details to the tokens. The code that edits the file validates it.
 */
async function valuesIn(path: string): Promise<unknown> {
  const { text } = await readClientFile(path);
  try {
    return text === undefined ? undefined : parsePlainJson(text);
  } catch {
    return undefined;
  }
}

function decoded(text: string): string | undefined {
  try {
    return text === '' ? undefined : decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
