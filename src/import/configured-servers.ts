import { isAbsolute, join } from 'node:path';
import { CLIENTS } from '../configure/clients.ts';
import { formatOf } from '../configure/open-format.ts';
import { HoldfastError } from '../errors.ts';
import type { Environment } from '../system/environment.ts';
import { readClientFile } from '../system/files/client-file.ts';
import { type Fields, objectAt, objectOf, textAt } from './fields.ts';

/*
 * The MCP servers in the person's own configuration of the clients, for the peers whose store does not say which server a
 * login is for. Files of a project do not count: whoever wrote a cloned repository would say where the person's tokens go.
 * A file that cannot be read says nothing; it is no store of logins.
 */

export interface ConfiguredServer {
  /** Such as `gemini`, or `goose`. */
  readonly client: string;
  readonly name: string;
  /** As it is written there. */
  readonly url: string;
  /** What the client starts, where it is a program that is given the URL. */
  readonly args: readonly string[];
}

export async function configuredServers(environment: Environment): Promise<readonly ConfiguredServer[]> {
  // What a client's own files are does not depend on the directory.
  const context = { environment, directory: environment.homeDirectory };
  const found: ConfiguredServer[] = [];
  for (const client of CLIENTS) {
    for (const file of client.files.user?.(context) ?? []) {
      const values = await valuesIn(file, client.format);
      if (values === undefined) continue;
      found.push(...serversIn(client.id, objectAt(values, ...client.holder(values, undefined))));
      if (client.id === 'claude-code') {
        for (const project of Object.values(objectAt(values, 'projects') ?? {})) {
          found.push(...serversIn(client.id, objectAt(project, 'mcpServers')));
        }
      }
    }
  }
  const goose = await valuesIn(join(gooseDirectory(environment), 'config.yaml'), 'YAML');
  return [...found, ...serversIn('goose', objectAt(goose, 'extensions'))];
}

/** Where goose keeps its configuration and, without a keyring, its secrets. */
export function gooseDirectory({ platform, variables, homeDirectory }: Environment): string {
  if (platform === 'win32') {
    const roaming = variables['APPDATA'] || join(homeDirectory, 'AppData', 'Roaming');
    return join(roaming, 'Block', 'goose', 'config');
  }
  const given = variables['XDG_CONFIG_HOME'];
  return join(given && isAbsolute(given) ? given : join(homeDirectory, '.config'), 'goose');
}

/** The URL that a client's configuration gives that server, if it does. */
export function urlOf(
  servers: readonly ConfiguredServer[],
  client: string,
  name: string,
): string | undefined {
  return servers.find((one) => one.client === client && one.name === name)?.url;
}

function serversIn(client: string, entries: Fields | undefined): ConfiguredServer[] {
  return Object.entries(entries ?? {}).flatMap(([key, value]) => {
    const entry = objectOf(value);
    if (entry === undefined) return [];
    const args = [entry['command'], entry['args']]
      .flat()
      .filter((word): word is string => typeof word === 'string');
    const url =
      ['url', 'httpUrl', 'uri', 'serverUrl'].map((name) => textAt(entry, name)).find(isUrl) ??
      args.find(isUrl);
    return url === undefined ? [] : [{ client, name: key, url, args }];
  });
}

function isUrl(text: string | undefined): text is string {
  return text !== undefined && /^https?:\/\//i.test(text) && URL.canParse(text);
}

async function valuesIn(path: string, format: 'JSON' | 'TOML' | 'YAML'): Promise<unknown> {
  try {
    const { text } = await readClientFile(path);
    return text === undefined ? undefined : (await formatOf(format)).parse(text.replace(/^\ufeff/, ''));
  } catch (error) {
    if (error instanceof HoldfastError || error instanceof Error) return undefined;
    throw error;
  }
}
