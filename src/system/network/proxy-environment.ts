import { Secret } from '../../secret.ts';
import { processEnvironment } from '../environment.ts';

/** An environment variable that names a proxy. Its value may hold a password. */
export interface ProxyVariable {
  readonly name: string;
  readonly value: Secret;
}

/**
 * Returns the variable that names the proxy for the URL, if any: `HTTPS_PROXY` or `HTTP_PROXY` by the URL's scheme,
 * else `ALL_PROXY`. The lower-case name comes first in each case. A host in `NO_PROXY` has no proxy. Without such a
 * variable this function loads no package.
 */
export async function proxyVariable(url: URL): Promise<ProxyVariable | undefined> {
  const { variables } = processEnvironment();
  const own = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const name = [own, own.toUpperCase(), 'all_proxy', 'ALL_PROXY'].find(
    (each) => (variables[each] ?? '') !== '',
  );
  if (name === undefined) return undefined;
  // getProxyForUrl chooses the same variable, so its result is used for NO_PROXY only. For a bare `host:port` it
  // assumes the URL's scheme, unlike every other program, so the variable's own value is returned unchanged.
  const { getProxyForUrl } = await import('proxy-from-env');
  if (getProxyForUrl(url.href) === '') return undefined;
  return { name, value: new Secret(variables[name] ?? '') };
}
