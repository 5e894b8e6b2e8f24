import { join } from 'node:path';
import { isMap, isNode, isScalar } from 'yaml';
import { documentOf, YAML_FORMAT } from '../../configure/yaml.ts';
import { gooseDirectory, urlOf } from '../configured-servers.ts';
import { momentAt, objectAt, objectOf, scopeAt, textAt, wireTokens } from '../fields.ts';
import { filesLocation, findInAll } from '../locations.ts';
import type { Source, SourceContext } from '../source.ts';
import type { Codec, StoredEntry } from '../source-file.ts';
import { jsonIn, type KeyringEntry, keyringLocation, UNKNOWN } from '../source-keyring.ts';
import { underSourceLock } from '../source-lock.ts';

/*
 * goose: one item of the OS keyring or, without a keyring, `secrets.yaml`. Each holds every secret of goose; only the
 * keys of MCP logins are read. goose's configuration says which server a login is for.
 */

const ITEM = { service: 'goose', account: 'secrets' };

const PREFIX = 'oauth_creds_';

export const GOOSE: Source = {
  id: 'goose',
  title: 'goose',
  afterwards: 'goose opens the browser for a login of its own when it uses that server again',
  find: (context) => {
    const file = context.file ?? join(gooseDirectory(context.environment), 'secrets.yaml');
    // Newer versions hold this lock for every change of a secret, in the keyring too.
    const path = `${file}.lock`;
    const lock = <T>(write: () => Promise<T>) => underSourceLock(path, { needs: path }, write);
    return findInAll([
      filesLocation([
        { path: file, codec: YAML_CODEC, entries: (values) => entriesOf(values, context), lock },
      ]),
      keyringLocation(context, {
        service: ITEM.service,
        layout: 'keyring-crate',
        accounts: () => [ITEM.account],
        entries: async (items): Promise<KeyringEntry[]> => {
          const item = items.find(({ account }) => account === ITEM.account);
          if (item === undefined) return [];
          const values = objectOf(jsonIn(item.text));
          if (values === undefined) return [{ ...UNKNOWN, account: ITEM.account }];
          const entries = await entriesOf(values, context);
          return entries.map((entry) => ({ ...entry, account: ITEM.account }));
        },
        lock,
      }),
    ]);
  },
  lock: (path, _, write) => underSourceLock(`${path}.lock`, { needs: `${path}.lock` }, write),
};

function entriesOf(values: unknown, context: SourceContext): Promise<StoredEntry[]> {
  return Promise.all(
    Object.entries(objectOf(values) ?? {})
      .filter(([key]) => key.startsWith(PREFIX))
      .map(([key, value]) => entryOf(key, value, context)),
  );
}

async function entryOf(key: string, value: unknown, context: SourceContext): Promise<StoredEntry> {
  const name = key.slice(PREFIX.length);
  const path = [key];
  const entry = objectOf(typeof value === 'string' ? jsonIn(value) : value);
  const writtenAt = momentAt(entry, 'token_received_at', 'seconds');
  const tokens = wireTokens(objectAt(entry, 'token_response'), writtenAt);
  if (tokens === undefined) return { name, path, content: { reason: 'nobody is logged in there' } };
  const url = urlOf(await context.configured(), 'goose', name) ?? '';
  const id = textAt(entry, 'client_id');
  const login = {
    from: 'goose',
    resource: url,
    ...tokens,
    scope: tokens.scope ?? scopeAt(entry, 'granted_scopes'),
    requestedScope: scopeAt(entry, 'requested_scopes'),
    client: id === undefined ? undefined : { id },
  };
  return { name, path, content: { login } };
}

/** A top-level map, line by line, as goose writes it. */
const YAML_CODEC: Codec = {
  parse: (text) => YAML_FORMAT.parse(text),
  remove: (text, [key]) => {
    const root = documentOf(text).contents;
    if (!isMap(root)) return text;
    const at = root.items.findIndex((pair) => isScalar(pair.key) && pair.key.value === key);
    const pair = root.items[at];
    const [start] = (isScalar(pair?.key) && pair.key.range) || [];
    const [, valueEnd] = (isNode(pair?.value) && pair.value.range) || [];
    if (start === undefined || valueEnd === undefined) return text;
    // Removes up to the end of the last line: comments below belong to the next entry.
    const last = text.slice(0, valueEnd).trimEnd().length;
    const lineEnd = text.indexOf('\n', last);
    const rest = text.slice(0, start) + (lineEnd === -1 ? '' : text.slice(lineEnd + 1));
    // Without any key, the remaining text would not be a map.
    return root.items.length === 1 ? `${rest}{}\n` : rest;
  },
};
