import { Secret } from '../../secret.ts';
import { processEnvironment } from '../environment.ts';

/** An environment variable that names a proxy. Its value may hold a password. */
export interface ProxyVariable {
  readonly name: string;
  readonly value: Secret;
}

/**
 * The variable that says through which proxy that URL is asked for, if any: `HTTPS_PROXY` or `HTTP_PROXY` by the URL's scheme,
 * else `ALL_PROXY`, each in lower case first, unless `NO_PROXY` lists the host. Nothing is loaded where none is set.
 */
export async function proxyVariable(url: URL): Promise<ProxyVariable | undefined> {
  const { variables } = processEnvironment();
  const own = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const name = [own, own.toUpperCase(), 'all_proxy', 'ALL_PROXY'].find(
    (each) => (variables[each] ?? '') !== '',
  );
  if (name === undefined) return undefined;
  // It chooses the same variable, so what it decides here is NO_PROXY. Its default scheme for a bare `host:port` is that of
  // the URL, which no other program shares; so the value is taken as it stands.
  const { getProxyForUrl } = await import('proxy-from-env');
  if (getProxyForUrl(url.href) === '') return undefined;
  return { name, value: new Secret(variables[name] ?? '') };
}
