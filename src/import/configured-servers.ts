import { isAbsolute, join } from 'node:path';
import { CLIENTS } from '../configure/clients.ts';
import { formatOf } from '../configure/open-format.ts';
import { HoldfastError } from '../errors.ts';
import type { Environment } from '../system/environment.ts';
import { readClientFile } from '../system/files/client-file.ts';
import { type Fields, objectAt, objectOf, textAt } from './fields.ts';

/*
 * The MCP servers in the user's own client configurations. Some sources do not store which server a login is for. A
 * project's files do not count: the author of a cloned repository could choose where the user's tokens go. An
 * unreadable file is skipped, since it stores no logins.
 */

export interface ConfiguredServer {
  /** The client's id, such as `gemini` or `goose`. */
  readonly client: string;
  readonly name: string;
  /** As the configuration spells it. */
  readonly url: string;
  /** The arguments of the program that the client starts, if that program is given the URL. */
  readonly args: readonly string[];
}

export async function configuredServers(environment: Environment): Promise<readonly ConfiguredServer[]> {
  // The user's own files do not depend on the current directory.
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

/** The directory of goose's configuration and, without a keyring, of its secrets. */
export function gooseDirectory({ platform, variables, homeDirectory }: Environment): string {
  if (platform === 'win32') {
    const roaming = variables['APPDATA'] || join(homeDirectory, 'AppData', 'Roaming');
    return join(roaming, 'Block', 'goose', 'config');
  }
  const given = variables['XDG_CONFIG_HOME'];
  return join(given && isAbsolute(given) ? given : join(homeDirectory, '.config'), 'goose');
}

/** The URL of that server in the client's configuration, if it has one. */
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
