import { join } from 'node:path';
import { underOwnedDirectory } from '../../system/locks/external-lock.ts';
import { issuerIn, momentAt, objectAt, objectOf, textAt, wireClient, wireTokens } from '../fields.ts';
import type { Source } from '../source.ts';
import { findIn, JSON_CODEC, type StoredEntry } from '../source-file.ts';

/* Cline, which saves a login in its server's entry in the settings file. Only the tokens are removed. */

/** After this time Cline itself treats its lock as stale, in milliseconds. */
const STALE_MS = 10_000;

export const CLINE: Source = {
  id: 'cline',
  title: 'Cline',
  afterwards: 'Cline asks for a login again where it is still to use that server itself',
  find: ({ file, environment }) => {
    const path =
      file ?? join(environment.homeDirectory, '.cline', 'data', 'settings', 'cline_mcp_settings.json');
    return findIn([
      {
        path,
        codec: JSON_CODEC,
        entries: (values) =>
          Object.entries(objectAt(values, 'mcpServers') ?? {}).flatMap(([name, server]) =>
            objectAt(server, 'oauth') === undefined ? [] : [entryOf(name, server)],
          ),
        lock: (write) => underLock(path, write),
      },
    ]);
  },
  lock: (path, _, write) => underLock(path, write),
};

function underLock<T>(path: string, write: () => Promise<T>): Promise<T> {
  return underOwnedDirectory(`${path}.lock`, { staleMs: STALE_MS, waitMs: STALE_MS + 5_000 }, write);
}

function entryOf(name: string, server: unknown): StoredEntry {
  const path = ['mcpServers', name, 'oauth', 'tokens'];
  const oauth = objectAt(server, 'oauth');
  const url = textAt(objectOf(server), 'url');
  const writtenAt = momentAt(oauth, 'lastAuthenticatedAt') ?? momentAt(oauth, 'lastAuthenticatedAt', 'iso');
  const tokens = wireTokens(objectAt(oauth, 'tokens'), writtenAt);
  if (tokens === undefined) return { name, path, content: { reason: 'nobody is logged in there' } };
  if (url === undefined) return { name, path, content: { reason: 'its entry has no URL' } };
  const client = wireClient(objectAt(oauth, 'clientInformation'));
  const issuer =
    issuerIn(objectAt(oauth, 'tokens'), objectAt(oauth, 'clientInformation')) ??
    textAt(objectAt(oauth, 'discoveryState', 'authorizationServerMetadata'), 'issuer');
  return { name, path, content: { login: { from: 'cline', resource: url, ...tokens, client, issuer } } };
}
