import { Secret } from '../../secret.ts';
import { type Environment, processEnvironment } from '../environment.ts';

/** An environment variable that names a proxy. Its value may hold a password. */
export interface ProxyVariable {
  readonly name: string;
  readonly value: Secret;
}

/**
 * Returns the variable that names the proxy for the URL, if any: `HTTPS_PROXY` or `HTTP_PROXY` by the URL's scheme,
 * else `ALL_PROXY`. The lower-case name comes first in each case. A host in `NO_PROXY` has no proxy.
 */
export function proxyVariable(
  url: URL,
  { variables }: Pick<Environment, 'variables'> = processEnvironment(),
): ProxyVariable | undefined {
  const own = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const name = [own, own.toUpperCase(), 'all_proxy', 'ALL_PROXY'].find(
    (each) => (variables[each] ?? '') !== '',
  );
  if (name === undefined || isExempt(url, variables['no_proxy'] || variables['NO_PROXY'] || ''))
    return undefined;
  return { name, value: new Secret(variables[name] ?? '') };
}

/**
 * Whether `NO_PROXY` names the URL's host: `*`, or names separated by commas or spaces. A name that begins with a dot or
 * a star stands for all hosts that end with the rest. A port limits the name to that port. No standard defines the
 * variable; this is the reading of the package `proxy-from-env`, which axios and others share.
 */
function isExempt(url: URL, list: string): boolean {
  const port = Number(url.port) || (url.protocol === 'https:' ? 443 : 80);
  // Without the port, but with the brackets of an IPv6 address.
  const host = url.host.replace(/:\d*$/, '');
  return list
    .toLowerCase()
    .split(/[,\s]/)
    .some((entry) => {
      const [, name = entry, only] = /^(.+):(\d+)$/.exec(entry) ?? [];
      if (name === '' || (only !== undefined && Number(only) !== 0 && Number(only) !== port)) return false;
      return /^[.*]/.test(name) ? host.endsWith(name.replace(/^\*/, '')) : host === name;
    });
}
