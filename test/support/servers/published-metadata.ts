import type { IncomingMessage } from 'node:http';
import type { KoaContextWithOIDC } from 'oidc-provider';

/** How the authorization server publishes its metadata and names itself in a redirect. */
export interface PublishedSettings {
  /** Path of the issuer, such as `/tenant1`. Everything is below it; the metadata is where MCP looks for it. */
  readonly issuerPath?: string | undefined;
  /**
   * The only location of the metadata (RFC 8414 section 3.1, OpenID Connect Discovery section 4). By default, all of
   * them.
   */
  readonly publishedAt?: 'oauth' | 'openid' | 'openid-appended' | undefined;
  /**
   * Changes to the metadata document; `null` removes a member. `{ code_challenge_methods_supported: null }` is a server
   * that does not advertise PKCE.
   */
  readonly publishes?: Readonly<Record<string, unknown>> | undefined;
  /**
   * The `iss` parameter of the redirect (RFC 9207). `unsupported`: neither promised nor sent. `unannounced`: sent
   * without a promise. `broken`: promised and not sent. `foreign`: promised, but another issuer's is sent.
   */
  readonly issParameter?: 'unsupported' | 'unannounced' | 'broken' | 'foreign' | undefined;
}

const OAUTH = '/.well-known/oauth-authorization-server';
const OPENID = '/.well-known/openid-configuration';

/** Maps a request under the issuer's path to the path oidc-provider expects. @returns false if nothing is there */
export function mounted(
  request: IncomingMessage,
  { issuerPath = '', publishedAt }: PublishedSettings,
): boolean {
  const url = request.url ?? '';
  const places = {
    oauth: [`${OAUTH}${issuerPath}`, OAUTH],
    openid: [`${OPENID}${issuerPath}`, OPENID],
    'openid-appended': [`${issuerPath}${OPENID}`, OPENID],
  } as const;
  const metadata = Object.values(places).find(([place]) => place === url);
  if (metadata !== undefined) {
    if (publishedAt !== undefined && places[publishedAt][0] !== url) return false;
    return move(request, issuerPath, metadata[1]);
  }
  if (issuerPath === '') return true;
  if (!url.startsWith(`${issuerPath}/`) || url.startsWith(`${issuerPath}/.well-known`)) return false;
  return move(request, issuerPath, url.slice(issuerPath.length));
}

function move(request: IncomingMessage, mount: string, url: string): true {
  request.url = url;
  // The library learns its mount point from this, as with Express.
  Object.assign(request, { originalUrl: `${mount}${url}` });
  return true;
}

type Middleware = (context: KoaContextWithOIDC, next: () => Promise<void>) => Promise<void>;

/** Publishes the current settings in place of the true metadata. */
export function publishing(settings: () => PublishedSettings): Middleware {
  return async (context, next) => {
    await next();
    if (context.path !== OAUTH && context.path !== OPENID) return;
    const { publishes = {}, issParameter } = settings();
    const document = context.body as Record<string, unknown>;
    if (issParameter === 'unsupported' || issParameter === 'unannounced') {
      Reflect.deleteProperty(document, 'authorization_response_iss_parameter_supported');
    }
    for (const [member, value] of Object.entries(publishes)) {
      if (value === null) Reflect.deleteProperty(document, member);
      else document[member] = value;
    }
  };
}

/** Rewrites `iss` in the redirects, or removes it. */
export function withIssParameter(settings: () => PublishedSettings): Middleware {
  return async (context, next) => {
    await next();
    const { issParameter } = settings();
    const location = context.response.get('location');
    if (issParameter === undefined || issParameter === 'unannounced' || !URL.canParse(location)) return;
    const target = new URL(location);
    if (!target.searchParams.has('iss')) return;
    if (issParameter === 'foreign') target.searchParams.set('iss', 'https://another-issuer.example');
    else target.searchParams.delete('iss');
    context.set('location', target.href);
  };
}
