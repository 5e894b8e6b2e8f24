import { isAbsolute, join } from 'node:path';
import { urlOf } from './configured-servers.ts';
import { momentAt, objectAt, objectOf, secretAt, textAt } from './fields.ts';
import type { Peer, PeerPlace } from './peer.ts';
import { findIn, JSON_CODEC, onlyUrl, type StoredEntry } from './peer-file.ts';

/*
 * opencode 1, which keeps its logins in a file of JSON; the database of its newer core is not read. Only the tokens are
 * taken: the registration beside them stays.
 */

export const OPENCODE: Peer = {
  id: 'opencode',
  title: 'opencode',
  afterwards: 'opencode asks for opencode mcp auth again where it is still to use that server itself',
  find: (place) =>
    findIn([
      {
        path: place.file ?? join(dataHome(place), 'opencode', 'mcp-auth.json'),
        codec: JSON_CODEC,
        entries: (values) =>
          Promise.all(Object.entries(objectOf(values) ?? {}).map(([name, one]) => entryOf(name, one, place))),
      },
    ]),
};

function dataHome({ environment }: PeerPlace): string {
  const given = environment.variables['XDG_DATA_HOME'];
  return given && isAbsolute(given) ? given : join(environment.homeDirectory, '.local', 'share');
}

async function entryOf(name: string, value: unknown, place: PeerPlace): Promise<StoredEntry> {
  const tokens = objectAt(value, 'tokens');
  const path = [name, 'tokens'];
  const accessToken = secretAt(tokens, 'accessToken');
  if (accessToken === undefined) return { name, path, content: { reason: 'nobody is logged in there' } };
  const url =
    textAt(objectOf(value), 'serverUrl') ??
    urlOf(await place.configured(), 'opencode', name) ??
    onlyUrl(place);
  if (url === undefined) {
    return { name, path, content: { reason: 'nothing says which server it is for: name it with --url URL' } };
  }
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
