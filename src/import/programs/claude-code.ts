import { join } from 'node:path';
import { machineName } from '../../system/os/machine-name.ts';
import { momentAt, objectAt, objectOf, secretAt, textAt } from '../fields.ts';
import { filesLocation, findInAll } from '../locations.ts';
import type { Source } from '../source.ts';
import { JSON_CODEC, type StoredEntry } from '../source-file.ts';
import { jsonIn, keyringLocation, UNKNOWN } from '../source-keyring.ts';

/*
 * Claude Code: one item of the Keychain on macOS, a file elsewhere. Both hold the user's own account under another key;
 * only `mcpOAuth` is read.
 */

const SERVICE = 'Claude Code-credentials';

export const CLAUDE_CODE: Source = {
  id: 'claude-code',
  title: 'Claude Code',
  afterwards: 'Claude Code asks for /mcp again where it is still to use that server itself',
  find: (context) => {
    const { file, environment } = context;
    const directory =
      environment.variables['CLAUDE_CONFIG_DIR'] || join(environment.homeDirectory, '.claude');
    const inFile = filesLocation([
      { path: file ?? join(directory, '.credentials.json'), codec: JSON_CODEC, entries: entriesOf },
    ]);
    if (environment.platform !== 'darwin') return inFile.found;
    return findInAll([
      inFile,
      keyringLocation(context, {
        service: SERVICE,
        layout: 'keytar',
        accounts: () => [machineName().user],
        entries: (items) =>
          items.flatMap(({ account, text }) => {
            const values = objectOf(jsonIn(text));
            const entries = values === undefined ? [UNKNOWN] : entriesOf(values);
            return entries.map((entry) => ({ ...entry, account }));
          }),
      }),
    ]);
  },
};

function entriesOf(values: unknown): StoredEntry[] {
  return Object.entries(objectAt(values, 'mcpOAuth') ?? {}).map(([key, value]) => entryOf(key, value));
}

function entryOf(key: string, value: unknown): StoredEntry {
  const entry = objectOf(value);
  const path = ['mcpOAuth', key];
  const url = textAt(entry, 'serverUrl');
  const accessToken = secretAt(entry, 'accessToken');
  // An entry without a token is a registration before any login.
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
