import { createHash, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { HoldfastError, InvalidArgumentError, LockTimeoutError } from '../../errors.ts';
import { removeFileDurably } from '../../system/files/atomic-file.ts';
import { namesIn, readClientFile } from '../../system/files/client-file.ts';
import { createFile } from '../../system/files/created-file.ts';
import { shellPath } from '../../system/files/storage-error.ts';
import { sleep } from '../../system/locks/keyed-mutex.ts';
import type { ExternalLogin } from '../../transfer/types.ts';
import { parsePlainJson } from '../../values/plain-values.ts';
import type { ConfiguredServer } from '../configured-servers.ts';
import { type Fields, issuerIn, objectOf, textAt, wireClient, wireTokens } from '../fields.ts';
import {
  type FoundLogin,
  type KeepBackup,
  type Skipped,
  type Source,
  type SourceContext,
  sameTokens,
} from '../source.ts';

/*
 * mcp-remote: two files for each login, `<md5>_tokens.json` and `<md5>_client_info.json`. The name is a hash of the URL
 * and some options, so a login is found by hashing known URLs. Only the token file is taken. The registration stays,
 * since only mcp-remote can use it.
 */

/** The time that mcp-remote gives another process to refresh, in milliseconds. */
const LEASE_MS = 30_000;
const SUFFIX = '_tokens.json';

export const MCP_REMOTE: Source = {
  id: 'mcp-remote',
  title: 'mcp-remote',
  afterwards: 'mcp-remote opens the browser for a login of its own when it is started for that server again',
  find: async (context) => {
    const urls = await candidates(context);
    const logins: FoundLogin[] = [];
    const skipped: Skipped[] = [];
    const directories = await directoriesOf(context);
    for (const directory of directories) {
      for (const file of (await namesIn(directory)).filter((one) => one.endsWith(SUFFIX))) {
        const name = file.slice(0, -SUFFIX.length);
        const path = join(directory, file);
        const url = urls.get(name);
        const read = url === undefined ? undefined : await loginAt(directory, name, url);
        if (url === undefined) {
          skipped.push({
            name,
            file: path,
            reason: 'its name is a hash of the server’s URL, which nothing here says: name it with --url URL',
          });
        } else if (read === undefined) {
          skipped.push({ name, file: path, reason: 'it holds no access token' });
        } else {
          logins.push({
            login: read,
            name,
            file: path,
            take: (keep) => take(directory, name, url, read, keep),
          });
        }
      }
    }
    return { logins, skipped, searched: directories };
  },
  lock: (path, _, write) => underLease(path, write),
};

/** One directory for each version with its own layout. */
async function directoriesOf({ file, environment }: SourceContext): Promise<string[]> {
  const root =
    file ?? (environment.variables['MCP_REMOTE_CONFIG_DIR'] || join(environment.homeDirectory, '.mcp-auth'));
  const versions = (await namesIn(root)).filter((name) => name.startsWith('mcp-remote-'));
  return versions.length === 0 ? [root] : versions.map((name) => join(root, name));
}

/** By hash: the given URLs, and those in the clients' configurations with their options. */
async function candidates({ urls, configured }: SourceContext): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  const add = (parts: readonly string[], url: string) =>
    void found.set(createHash('md5').update(parts.join('|')).digest('hex'), url);
  const spelled = (url: string) => [url, url.replace(/\/$/, ''), `${url.replace(/\/$/, '')}/`];
  const servers = await configured();
  for (const url of [...servers.map((server) => server.url), ...urls]) {
    for (const one of spelled(url)) {
      add([one], url);
      for (const server of servers.filter(({ args }) => isMcpRemote(args))) {
        const options = optionsOf(server);
        if (options.length > 0) add([one, ...options], url);
      }
    }
  }
  return found;
}

function isMcpRemote(args: readonly string[]): boolean {
  return args.some((word) => /(^|[\\/])mcp-remote(@|$|[\\/])/.test(word));
}

/** The other parts of the hash, from mcp-remote's command line. */
function optionsOf({ args }: ConfiguredServer): string[] {
  const after = (name: string) => args.flatMap((word, at) => (word === name ? [args[at + 1] ?? ''] : []));
  const headers = Object.fromEntries(
    after('--header').flatMap((header) => {
      const [, name, value] = /^([A-Za-z0-9_-]+):\s*(.*)$/.exec(header) ?? [];
      return name === undefined || value === undefined ? [] : [[name, value]];
    }),
  );
  const [resource] = after('--resource');
  return [
    ...(resource?.trim() ? [resource.trim()] : []),
    ...(Object.keys(headers).length === 0 ? [] : [JSON.stringify(headers, Object.keys(headers).toSorted())]),
  ];
}

async function loginAt(directory: string, name: string, url: string): Promise<ExternalLogin | undefined> {
  const tokens = await readJson(join(directory, `${name}${SUFFIX}`));
  const client = await readJson(join(directory, `${name}_client_info.json`));
  // Releases before 0.1.38 wrote no `expires_at`: the life counts from the time of writing.
  const found = wireTokens(tokens?.fields, tokens?.writtenAt);
  if (found === undefined) return undefined;
  return {
    from: 'mcp-remote',
    resource: url,
    ...found,
    requestedScope: textAt(tokens?.fields, 'requested_scope'),
    client: wireClient(client?.fields),
    issuer: issuerIn(tokens?.fields, client?.fields),
  };
}

async function readJson(path: string): Promise<{ fields: Fields; writtenAt: number } | undefined> {
  const { text, stats } = await readClientFile(path);
  if (text === undefined || stats === undefined) return undefined;
  try {
    const fields = objectOf(parsePlainJson(text));
    if (fields !== undefined) return { fields, writtenAt: Math.floor(stats.mtimeMs) };
  } catch {
    // The parser's message quotes its input, so the error is not kept as a cause.
  }
  throw new InvalidArgumentError(`${shellPath(path)} is not what mcp-remote writes; it was left as it is.`, {
    hint: 'It may be damaged. mcp-remote makes it anew at its next login.',
  });
}

/** Holds mcp-remote's own refresh lease, so that no refresh runs meanwhile. */
async function take(
  directory: string,
  name: string,
  url: string,
  login: ExternalLogin,
  keep: KeepBackup | undefined,
): Promise<'taken' | 'changed' | 'gone'> {
  const path = join(directory, `${name}${SUFFIX}`);
  return underLease(path, async () => {
    const now = await loginAt(directory, name, url);
    if (now === undefined) return 'gone';
    if (!sameTokens(now, login)) return 'changed';
    const { text } = await readClientFile(path);
    if (text === undefined) return 'gone';
    await keep?.({ path, text, next: undefined });
    return (await removeFileDurably(path)) ? 'taken' : 'gone';
  });
}

async function underLease<T>(path: string, step: () => Promise<T>): Promise<T> {
  const release = await lease(path.replace(/_tokens\.json$/, '_refresh_in_progress.json'));
  try {
    return await step();
  } finally {
    await release();
  }
}

/** @param path `<md5>_refresh_in_progress.json` */
export async function lease(path: string): Promise<() => Promise<void>> {
  const deadline = performance.now() + LEASE_MS + 5_000;
  const own = { pid: process.pid, nonce: randomUUID(), at: Date.now() };
  for (;;) {
    try {
      await createFile(path, JSON.stringify({ ...own, at: Date.now() }, null, 2));
      break;
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
    }
    const held = await readJson(path).catch((error: unknown) => {
      // The lease file is half written or truncated, so its time is unknown. It gets the full time limit.
      if (error instanceof HoldfastError) return undefined;
      throw error;
    });
    const since = held?.fields['at'];
    if (typeof since === 'number' && Date.now() - since > LEASE_MS) await removeFileDurably(path);
    else if (performance.now() > deadline) {
      throw new LockTimeoutError('mcp-remote has been refreshing that login all the time.', {
        hint: 'End the clients that start it, then run the same command again.',
      });
    } else await sleep(200);
  }
  return async () => {
    const held = await readJson(path).catch(() => undefined);
    if (held?.fields['nonce'] === own.nonce) await removeFileDurably(path);
  };
}
