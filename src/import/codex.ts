import { join } from 'node:path';
import { momentAt, objectOf, scopeAt, secretAt, textAt } from './fields.ts';
import type { Peer } from './peer.ts';
import { findIn, JSON_CODEC, type StoredEntry } from './peer-file.ts';

/* Codex with `mcp_oauth_credentials_store = "file"`, or where it found no keyring. */

export const CODEX: Peer = {
  id: 'codex',
  title: 'Codex',
  afterwards: 'Codex asks for codex mcp login again where it is still to use that server itself',
  find: ({ file, environment }) =>
    findIn([
      {
        path:
          file ??
          join(
            environment.variables['CODEX_HOME'] || join(environment.homeDirectory, '.codex'),
            '.credentials.json',
          ),
        codec: JSON_CODEC,
        entries: (values) =>
          Object.entries(objectOf(values) ?? {}).map(([key, value]) => entryOf(key, value)),
      },
    ]),
};

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
