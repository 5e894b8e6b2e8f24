import { isAbsolute, join } from 'node:path';
import { underPidFile } from '../../system/locks/external-lock.ts';
import { issuerIn, momentAt, objectAt, objectOf, textAt, wireClient, wireTokens } from '../fields.ts';
import type { Source } from '../source.ts';
import { findIn, JSON_CODEC, type StoredEntry } from '../source-file.ts';

/*
 * mcporter. Only the tokens are taken; their registration stays. mcporter locks since 0.12; version 0.9 ignores the
 * lock.
 */

/** As long as mcporter itself waits, in milliseconds. */
const WAIT_MS = 30_000;

export const MCPORTER: Source = {
  id: 'mcporter',
  title: 'mcporter',
  afterwards: 'mcporter asks for mcporter auth again where it is still to use that server itself',
  find: ({ file, environment }) => {
    const data = environment.variables['XDG_DATA_HOME'];
    const directories = [
      join(environment.homeDirectory, '.mcporter'),
      ...(data && isAbsolute(data) ? [join(data, 'mcporter')] : []),
    ];
    const files = file === undefined ? directories.map((one) => join(one, 'credentials.json')) : [file];
    return findIn(
      files.map((path) => ({
        path,
        codec: JSON_CODEC,
        entries: (values) =>
          Object.entries(objectAt(values, 'entries') ?? {}).map(([key, one]) => entryOf(key, one)),
        lock: (write) => underPidFile(path, { waitMs: WAIT_MS }, write),
      })),
    );
  },
  lock: (path, _, write) => underPidFile(path, { waitMs: WAIT_MS }, write),
};

function entryOf(key: string, value: unknown): StoredEntry {
  const path = ['entries', key, 'tokens'];
  const entry = objectOf(value);
  const url = textAt(entry, 'serverUrl');
  const tokens = wireTokens(objectAt(entry, 'tokens'), momentAt(entry, 'updatedAt', 'iso'));
  if (tokens === undefined) return { name: key, path, content: { reason: 'nobody is logged in there' } };
  if (url === undefined) {
    return { name: key, path, content: { reason: 'it does not say which server it is for' } };
  }
  const client = wireClient(objectAt(entry, 'clientInfo'));
  const issuer = issuerIn(objectAt(entry, 'tokens'), objectAt(entry, 'clientInfo'));
  return {
    name: key,
    path,
    content: { login: { from: 'mcporter', resource: url, ...tokens, client, issuer } },
  };
}
