import type { ConfigFormat } from './config-format.ts';

/** Loads a format's library only if a client of that format is configured. */
export async function formatOf(name: ConfigFormat['name']): Promise<ConfigFormat> {
  switch (name) {
    case 'JSON':
      return (await import('./json.ts')).JSON_FORMAT;
    case 'TOML':
      return (await import('./toml.ts')).TOML_FORMAT;
    case 'YAML':
      return (await import('./yaml.ts')).YAML_FORMAT;
  }
}
