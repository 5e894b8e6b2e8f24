import { join } from 'node:path';
import { momentAt, objectAt, objectOf, secretAt, textAt } from './fields.ts';
import type { Peer } from './peer.ts';
import { findIn, JSON_CODEC, type StoredEntry } from './peer-file.ts';

/*
 * Claude Code where it keeps its credentials in a file, which is everywhere but on macOS. The same file holds the user's own
 * account under another key; only `mcpOAuth` is looked at.
 */

export const CLAUDE_CODE: Peer = {
  id: 'claude-code',
  title: 'Claude Code',
  afterwards: 'Claude Code asks for /mcp again where it is still to use that server itself',
  find: ({ file, environment }) =>
    findIn([
      {
        path:
          file ??
          join(
            environment.variables['CLAUDE_CONFIG_DIR'] || join(environment.homeDirectory, '.claude'),
            '.credentials.json',
          ),
        codec: JSON_CODEC,
        entries: (values) =>
          Object.entries(objectAt(values, 'mcpOAuth') ?? {}).map(([key, value]) => entryOf(key, value)),
      },
    ]),
};

function entryOf(key: string, value: unknown): StoredEntry {
  const entry = objectOf(value);
  const path = ['mcpOAuth', key];
  const url = textAt(entry, 'serverUrl');
  const accessToken = secretAt(entry, 'accessToken');
  // Without a token it is a registration that nobody has logged in with yet.
  if (accessToken === undefined) return { name: key, path, content: { reason: 'nobody is logged in there' } };
  if (url === undefined) {
    return { name: key, path, content: { reason: 'it does not say which server it is for' } };
  }
  const id = textAt(entry, 'clientId');
  const login = {
    from: 'claude-code',
    resource: url,
    accessToken,
    refreshToken: secretAt(entry, 'refreshToken'),
    expiresAt: momentAt(entry, 'expiresAt'),
    scope: textAt(entry, 'scope'),
    client: id === undefined ? undefined : { id, secret: secretAt(entry, 'clientSecret') },
  };
  return { name: key, path, content: { login } };
}
