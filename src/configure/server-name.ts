import { DEFAULT_ACCOUNT } from '../credential.ts';
import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';

/** Labels of a host name that name the protocol, or say nothing about the server. */
const GENERIC = new Set(['mcp', 'api', 'www', 'app', 'server']);
/** Second-level labels of registries, such as in `example.co.uk`. */
const REGISTRY = new Set(['ac', 'co', 'com', 'edu', 'gov', 'net', 'org']);
const MOST_CHARACTERS = 64;

/**
 * A server's name for a client's configuration: `https://mcp.notion.com/mcp` gives `notion`. An account other than the
 * default is part of the name.
 *
 * @param resource in canonical form
 */
export function serverName(resource: string, account: string): string {
  const { hostname, port } = new URL(resource);
  const labels = hostname.split('.');
  const isAddress = /^[\d.]+$/.test(hostname) || hostname.startsWith('[') || labels.length === 1;
  let words = isAddress ? [hostname, port] : labels.slice(0, -1);
  if (!isAddress) {
    if (words.length > 1 && REGISTRY.has(words.at(-1) ?? '')) words = words.slice(0, -1);
    const own = words.filter((word) => !GENERIC.has(word));
    if (own.length > 0) words = own;
  }
  if (account !== DEFAULT_ACCOUNT) words = [...words, account];
  const name = words
    .join('-')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, MOST_CHARACTERS);
  return name === '' ? 'mcp' : name;
}

/**
 * Checks for letters, digits, `-` and `_`, which every client accepts, and TOML accepts without quotes.
 *
 * @throws InvalidArgumentError
 */
export function checkedName(name: string): string {
  if (/^[A-Za-z0-9][\w-]{0,63}$/.test(name)) return name;
  throw new InvalidArgumentError(`${quote(name, 80)} is no name for a server.`, {
    hint: 'Use letters, digits, - and _, at most 64, with a letter or digit first.',
  });
}
