import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type PeerLogin, peerLogin } from '../../bench/storm/peer-login.ts';
import { configuredServers } from '../../src/import/configured-servers.ts';
import type { Source, SourceContext } from '../../src/import/source.ts';
import { sourceNamed } from '../../src/import/sources.ts';
import { type Home, temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import type { Servers } from '../support/servers/servers.ts';

/* A user's home in which another program has a login, newly made at the test's servers. */

const FIXTURES = fileURLToPath(new URL('../fixtures/peers', import.meta.url));

export interface PeerHome {
  readonly source: Source;
  readonly login: PeerLogin;
  /** The user's home; Holdfast's own home is elsewhere. */
  readonly directory: string;
  readonly home: Home;
  readonly context: SourceContext;
  /** Every file of the program: its text by its path below the home. */
  files(): Promise<Readonly<Record<string, string>>>;
}

/**
 * @param options.login used instead of a new login
 * @param options.expiresAt expiry of the access token, in milliseconds since the epoch; default: in one hour
 */
export async function peerHome(
  id: string,
  servers: Servers,
  options: { login?: PeerLogin; expiresAt?: number; urls?: readonly string[] } = {},
): Promise<PeerHome> {
  const login = options.login ?? (await peerLogin(servers));
  const directory = await temporaryDirectory();
  const expiresAt = options.expiresAt ?? Date.now() + 3_600_000;
  const writtenAt = expiresAt - 3_600_000;
  const values: Readonly<Record<string, string | number>> = {
    RESOURCE: servers.resource,
    ENCODED_RESOURCE: encodeURIComponent(servers.resource),
    ISSUER: login.issuer,
    TOKEN_ENDPOINT: login.tokenEndpoint,
    CLIENT: login.client.client_id,
    ACCESS: login.tokens.access_token,
    REFRESH: login.tokens.refresh_token,
    EXPIRES_MS: expiresAt,
    EXPIRES_S: expiresAt / 1000,
    WRITTEN_MS: writtenAt,
    WRITTEN_S: Math.floor(writtenAt / 1000),
    WRITTEN_ISO: new Date(writtenAt).toISOString(),
  };
  const filled = (text: string) =>
    text
      .replaceAll(/"\$(EXPIRES_MS|EXPIRES_S|WRITTEN_MS|WRITTEN_S)"/g, (_, name: string) => `${values[name]}`)
      .replaceAll(/\$([A-Z_]+)/g, (_, name: string) => `${values[name]}`);
  const md5 = createHash('md5').update(servers.resource).digest('hex');
  for (const [path, text] of Object.entries(await filesIn(join(FIXTURES, id)))) {
    const target = join(directory, path.replace('MD5', md5));
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, filled(text), { mode: 0o600 });
  }
  const home = await temporaryHome();
  const environment = { ...home.environment, homeDirectory: directory };
  return {
    source: sourceNamed(id),
    login,
    directory,
    home,
    context: {
      environment,
      file: undefined,
      urls: options.urls ?? [servers.resource],
      configured: () => configuredServers(environment),
    },
    files: () => filesIn(directory),
  };
}

async function filesIn(directory: string): Promise<Record<string, string>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  const texts = files.map(async (file) => [file.slice(directory.length + 1), await readFile(file, 'utf8')]);
  return Object.fromEntries(await Promise.all(texts));
}
