import { dirname, join } from 'node:path';
import { readClientFile } from '../system/client-file.ts';
import { underLockDirectory } from '../system/lock-directory.ts';
import { type Fields, objectAt, objectOf, secretAt, wireClient, wireTokens } from './fields.ts';
import type { Findings, Peer, PeerPlace } from './peer.ts';
import { findIn, JSON_CODEC, type StoredEntry, type StoreFile } from './peer-file.ts';

/*
 * MCP Inspector 2. `oauth.json` says which clients it is at which servers and authorization servers; the tokens lie in it, or,
 * with a file as its secret store, in `secrets.json`. What it keeps in the OS keyring, and an encrypted `secrets.json`, are not
 * read. It never says when it wrote a token.
 */

/** After how long the Inspector itself takes its lock for left behind. */
const STALE_MS = 10_000;

export const INSPECTOR: Peer = {
  id: 'inspector',
  title: 'MCP Inspector',
  afterwards: 'the Inspector asks for a login again where it is still to use that server itself',
  find,
};

async function find(place: PeerPlace): Promise<Findings> {
  const { oauth, secrets } = pathsOf(place);
  const servers = objectAt(await valuesIn(oauth), 'servers');
  return findIn([
    locked(oauth, (values) =>
      Object.entries(objectAt(values, 'servers') ?? {}).flatMap(([url, server]) =>
        Object.entries(objectAt(server, 'byIssuer') ?? {}).flatMap(([issuer, one]) => {
          const tokens = objectAt(one, 'tokens');
          const path = ['servers', url, 'byIssuer', issuer, 'tokens'];
          // Without any, they lie elsewhere, or nobody is logged in.
          return tokens === undefined ? [] : [entryOf(url, issuer, tokens, objectOf(one), path)];
        }),
      ),
    ),
    locked(secrets, (values) => {
      const encryption = objectOf(values)?.['encryption'];
      if (encryption !== 'none') {
        const reason = 'it is encrypted, which Holdfast does not read yet';
        return [{ name: 'secrets.json', path: [], content: { reason } }];
      }
      const all = objectAt(values, 'secrets') ?? {};
      return Object.entries(all).flatMap(([key, value]) => {
        // `oauth+<namespace>+<URL>`, the namespace being left out where there is none.
        const [, account = '', url = '', issuer = ''] =
          /^(oauth\+(?:[^+:]*\+)?([^+:]+)):tokens:(.+)$/s.exec(key) ?? [];
        const server = decoded(url);
        if (server === undefined) return [];
        const about = objectAt(servers, server, 'byIssuer', issuer);
        const secret = secretAt(all, `${account}:client-secret:${issuer}`);
        const entry = entryOf(server, issuer, parsed(value), about, ['secrets', key]);
        if ('reason' in entry.content || secret === undefined) return [entry];
        const { client } = entry.content.login;
        const login = {
          ...entry.content.login,
          client: client && { ...client, secret: client.secret ?? secret },
        };
        return [{ ...entry, content: { login } }];
      });
    }),
  ]);
}

/** With `--file`: the directory of the Inspector, or `oauth.json` in its directory `storage`. */
function pathsOf({ file, environment }: PeerPlace): { oauth: string; secrets: string } {
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

function locked(path: string, entries: StoreFile['entries']): StoreFile {
  const lock: StoreFile['lock'] = (write) =>
    underLockDirectory(`${path}.lock`, { staleMs: STALE_MS, waitMs: STALE_MS + 5_000 }, write);
  return { path, codec: JSON_CODEC, entries, lock };
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

/** What is there is judged where it is read to be changed; here it only says more of the tokens. */
async function valuesIn(path: string): Promise<unknown> {
  const { text } = await readClientFile(path);
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function parsed(value: unknown): Fields | undefined {
  try {
    return typeof value === 'string' ? objectOf(JSON.parse(value)) : undefined;
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
