import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto';
import { join } from 'node:path';
import { machineName } from '../../system/os/machine-name.ts';
import { parsePlainJson } from '../../values/plain-values.ts';
import { urlOf } from '../configured-servers.ts';
import { momentAt, objectAt, objectOf, secretAt, textAt } from '../fields.ts';
import { filesLocation, findInAll } from '../locations.ts';
import type { Source, SourceContext } from '../source.ts';
import {
  type Codec,
  findIn,
  JSON_CODEC,
  type Path,
  type StoredEntry,
  type StoreFile,
} from '../source-file.ts';
import { jsonIn, type KeyringStore, keyringLocation } from '../source-keyring.ts';

/*
 * Gemini CLI: a list in `mcp-oauth-tokens.json` or, if the user chose it, one item of the OS keyring for each server.
 * The keyring's fallback file, `gemini-credentials.json`, is encrypted with a key derived from the names of the machine
 * and the user.
 */

const SERVICE = 'gemini-cli-oauth';
/** The user's own Google account is stored among the servers. */
const OWN_ACCOUNT = 'main-account';
/** Keyring items that are no logins: Gemini's test item, and secrets of other kinds. */
const NO_SERVER = /^(main-account$|__keychain_test__|__secret__)/;

export const GEMINI: Source = {
  id: 'gemini',
  title: 'Gemini CLI',
  afterwards: 'Gemini CLI asks for /mcp auth again where it is still to use that server itself',
  find: (context) => {
    const { file, environment } = context;
    const directory = join(environment.variables['GEMINI_CLI_HOME'] || environment.homeDirectory, '.gemini');
    const plain = file ?? join(directory, 'mcp-oauth-tokens.json');
    const sealed = file ?? join(directory, 'gemini-credentials.json');
    const inPlain: StoreFile = {
      path: plain,
      codec: JSON_CODEC,
      entries: async (values: unknown) =>
        Promise.all(
          (Array.isArray(values) ? values : []).map((one: unknown, at) => entryOf(one, [at], context)),
        ),
    };
    const inSealed: StoreFile = {
      path: sealed,
      codec: SEALED_CODEC,
      entries: async (values: unknown) =>
        Promise.all(
          Object.entries(objectAt(values, SERVICE) ?? {})
            .filter(([account]) => account !== OWN_ACCOUNT)
            .map(([account, text]) =>
              entryOf(typeof text === 'string' ? jsonIn(text) : undefined, [SERVICE, account], context),
            ),
        ),
    };
    if (file !== undefined) return findIn([/credentials/.test(file) ? inSealed : inPlain]);
    return findInAll([filesLocation([inPlain, inSealed]), keyringLocation(context, keyringStore(context))]);
  },
};

function keyringStore(context: SourceContext): KeyringStore {
  return {
    service: SERVICE,
    layout: 'keytar',
    accounts: async () =>
      (await context.configured())
        .filter(({ client }) => client === 'gemini')
        .map(({ name }) => name.replaceAll(/[^a-zA-Z0-9-_.]/g, '_')),
    entries: (items) =>
      Promise.all(
        items
          .filter(({ account }) => !NO_SERVER.test(account))
          .map(async ({ account, text }) => {
            const entry = await entryOf(jsonIn(text), [account], context);
            return { ...entry, account, path: [] };
          }),
      ),
  };
}

async function entryOf(value: unknown, path: Path, context: SourceContext): Promise<StoredEntry> {
  const entry = objectOf(value);
  const token = objectAt(entry, 'token');
  const name = textAt(entry, 'serverName') ?? String(path.at(-1));
  const url = textAt(entry, 'mcpServerUrl') ?? urlOf(await context.configured(), 'gemini', name) ?? '';
  const accessToken = secretAt(token, 'accessToken');
  if (name === OWN_ACCOUNT) return { name, path, content: { reason: 'it is no login to an MCP server' } };
  if (accessToken === undefined) return { name, path, content: { reason: 'it holds no access token' } };
  const id = textAt(entry, 'clientId');
  return {
    name,
    path,
    content: {
      login: {
        from: 'gemini',
        resource: url,
        accessToken,
        refreshToken: secretAt(token, 'refreshToken'),
        tokenType: textAt(token, 'tokenType'),
        obtainedAt: momentAt(entry, 'updatedAt'),
        expiresAt: momentAt(token, 'expiresAt'),
        scope: textAt(token, 'scope'),
        client: id === undefined ? undefined : { id },
        tokenEndpoint: textAt(entry, 'tokenUrl'),
      },
    },
  };
}

/** Hexadecimal `iv:tag:ciphertext`, AES-256-GCM. */
const SEALED_CODEC: Codec = {
  parse: (text) => {
    const [iv = '', tag = '', sealed = ''] = text.trim().split(':');
    const decipher = createDecipheriv('aes-256-gcm', key(), Buffer.from(iv, 'hex'), { authTagLength: 16 });
    decipher.setAuthTag(Buffer.from(tag, 'hex'));
    const plain = Buffer.concat([decipher.update(Buffer.from(sealed, 'hex')), decipher.final()]);
    return parsePlainJson(plain.toString('utf8'));
  },
  remove: (text, path) => {
    const values = SEALED_CODEC.parse(text) as Record<string, Record<string, string>>;
    const [service, account] = path;
    delete values[String(service)]?.[String(account)];
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', key(), iv, { authTagLength: 16 });
    const sealed = Buffer.concat([cipher.update(JSON.stringify(values, null, 2), 'utf8'), cipher.final()]);
    return [iv, cipher.getAuthTag(), sealed].map((part) => part.toString('hex')).join(':');
  },
};

function key(): Buffer {
  const { host, user } = machineName();
  return scryptSync(SERVICE, `${host}-${user}-gemini-cli`, 32);
}
