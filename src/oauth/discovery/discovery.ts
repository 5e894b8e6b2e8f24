import * as v from 'valibot';
import { MAX_RESOURCE_LENGTH, type Reach } from '../../credential.ts';
import { AbortedError, type HoldfastError, InvalidResponseError, NotAnMcpServerError } from '../../errors.ts';
import { type HttpResponse, type RequestOptions, send } from '../../http/request.ts';
import { checkPublishedUrl } from '../../http/safe-url.ts';
import { quote } from '../../quote.ts';
import { VERSION } from '../../version.ts';
import type { LeniencyUsed } from '../leniency.ts';
import { checkServerUp } from '../protocol-error.ts';
import { type BearerChallenge, bearerChallenge } from './challenge.ts';
import { metadataDocument, Scopes } from './metadata-document.ts';
import {
  legacyServer,
  type ServerMetadata,
  type ServerMetadataOptions,
  serverMetadata,
} from './server-metadata.ts';

export type { ServerMetadata };

/*
 * Leads from the URL of an MCP server to its authorization server: protected resource metadata (RFC 9728), then
 * authorization server metadata (RFC 8414, OpenID Connect Discovery), in the order that MCP prescribes. A wrong
 * document is an error; only a missing one leads to the next URL.
 */

export interface Discovery {
  /** The canonical URI that discovery started from. */
  readonly resource: string;
  /**
   * Sent as `resource`: the published string, byte for byte, else the canonical URI; `undefined` if the user disabled
   * the parameter.
   */
  readonly resourceParameter: string | undefined;
  readonly challengedScope: string | undefined;
  readonly resourceScopes: readonly string[] | undefined;
  /** Whether the resource accepts only tokens that are bound to a key (RFC 9728 section 2). */
  readonly dpopRequired: boolean;
  readonly server: ServerMetadata;
  /** How far requests to URLs that the resource names may go. */
  readonly reach: Reach;
  /** The leniencies that this server needed and that a strict client refuses. */
  readonly leniencies: readonly LeniencyUsed[];
}

export interface DiscoveryOptions extends Omit<ServerMetadataOptions, 'used' | 'reach'> {
  /** The `WWW-Authenticate` header of the server's own response. It takes precedence over that of the probe. */
  readonly challenge?: string | undefined;
  /** Sent only to the resource's own origin. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

const ResourceMetadata = v.object({
  resource: v.pipe(v.string(), v.nonEmpty(), v.maxLength(MAX_RESOURCE_LENGTH)),
  authorization_servers: v.optional(v.pipe(v.array(v.string()), v.maxLength(100))),
  scopes_supported: Scopes,
  dpop_bound_access_tokens_required: v.optional(v.boolean()),
});

/**
 * Finds out how to log in at an MCP server. Sends no token and stores nothing.
 *
 * @param resource its canonical URI
 * @throws NotAnMcpServerError when nothing at that URL speaks MCP authorization
 * @throws IssuerMismatchError, UnsafeUrlError, InvalidResponseError, ServerUnsupportedError for the published metadata
 * @throws NetworkError, TimeoutError, ResponseTooLargeError
 */
export async function discover(resource: string, options: DiscoveryOptions = {}): Promise<Discovery> {
  const url = new URL(resource);
  const { challenge: answered, headers, lenient = {}, ...rest } = options;
  const ownHeaders = headers && { origin: url.origin, headers };
  const isAnyones = lenient.otherLocalUsers === true;
  const probe = await probeServer(url, {
    signal: rest.signal,
    timeoutMs: rest.timeoutMs,
    environment: rest.environment,
    ownHeaders,
    reach: isAnyones ? 'anyone' : 'anywhere',
  });
  const refused = probe.status === 401 || probe.status === 403;
  const challenge = bearerChallenge(answered ?? (refused ? probe.headers.get('www-authenticate') : null));
  const leniencies: LeniencyUsed[] = [];
  const used = (leniency: LeniencyUsed) => {
    if (!leniencies.some(({ name }) => name === leniency.name)) leniencies.push(leniency);
  };
  // SSRF guard: a server on the public internet may not name hosts of private networks or of this machine.
  const far = lenient.privateAddresses === true ? 'anywhere' : (probe.reached ?? 'public');
  const reach = far === 'anywhere' && isAnyones ? 'anyone' : far;
  const limits = { ...rest, lenient, reach, used };
  const published = await resourceMetadata(url, challenge, { ...limits, ownHeaders });
  const issuers = published?.authorization_servers ?? [];
  const server =
    issuers.length > 0
      ? await firstUsable(issuers, url, limits)
      : // Servers of MCP 2025-03-26 act as their own authorization server, at the root of their origin.
        ((await serverMetadata(url.origin, url, limits)) ??
        (lenient.legacyEndpoints === true ? legacyServer(url, limits) : undefined));
  if (server === undefined) throw notMcp(resource, probe, published !== undefined);
  if (far === 'anywhere' && probe.reached !== 'anywhere') {
    used({
      name: 'private-addresses',
      message: `${quote(url.host)} may name addresses of private networks.`,
    });
  }
  if (reach === 'anyone') {
    used({
      name: 'other-local-users',
      message: `Other users of this machine may run what ${quote(url.host)} names here.`,
    });
  }
  if (lenient.resourceOmitted === true) {
    used({ name: 'resource-omitted', message: `No resource parameter is sent to ${quote(server.issuer)}.` });
  }
  return {
    resource,
    resourceParameter: lenient.resourceOmitted === true ? undefined : (published?.resource ?? resource),
    challengedScope: challenge?.scope,
    resourceScopes: published?.scopes_supported,
    dpopRequired: published?.dpop_bound_access_tokens_required ?? false,
    server,
    reach,
    leniencies,
  };
}

/** Sends the request of an MCP client without a token. Only the response's status and headers matter. */
async function probeServer(url: URL, options: RequestOptions): Promise<HttpResponse> {
  const response = await send(url, {
    ...options,
    method: 'POST',
    headersOnly: true,
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: {
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: { name: 'holdfast', version: VERSION },
      },
    }),
  });
  const location = response.headers.get('location');
  if (response.status >= 300 && response.status < 400 && location !== null) {
    throw new NotAnMcpServerError(`${quote(url.href)} redirects to ${quote(location)}.`, {
      hint: 'Log in at that URL, if you trust it: a login is bound to the URL that it was made for.',
    });
  }
  checkServerUp(response, quote(url.host));
  return response;
}

/**
 * RFC 9728: tries the URL of the challenge, else the well-known URL with the server's path, then the one at the root.
 */
async function resourceMetadata(
  url: URL,
  challenge: BearerChallenge | undefined,
  options: ServerMetadataOptions,
): Promise<v.InferOutput<typeof ResourceMetadata> | undefined> {
  const root = `${url.origin}/.well-known/oauth-protected-resource`;
  const own = `${root}${url.pathname === '/' ? '' : url.pathname}${url.search}`;
  const addresses = new Set([challenge?.resourceMetadata ?? own, own, root]);
  for (const address of addresses) {
    // A challenge from a remote server must not direct requests at services of this machine.
    checkPublishedUrl(address, 'resource metadata', url, options.lenient?.privateAddresses);
    const metadata = await metadataDocument(address, ResourceMetadata, options);
    if (metadata === undefined) continue;
    if (!covers(metadata.resource, url)) {
      // RFC 9728 section 3.3: metadata of another resource must not be used.
      throw new InvalidResponseError(
        `The resource metadata at ${quote(address)} is that of ${quote(metadata.resource)}, not of ${quote(url.href)}.`,
        { hint: 'Check the URL. If it is right, tell who runs the server.' },
      );
    }
    return metadata;
  }
  return undefined;
}

/** Requires the same origin and a path prefix of the server's path; a query only if it is the server's own. */
function covers(resource: string, url: URL): boolean {
  // The string goes to the authorization server unchanged, so refuse any text that the URL parser drops, changes or
  // skips.
  if (/[\s#\\\p{Cc}]|\/\.{1,2}(\/|$)/u.test(resource) || !URL.canParse(resource)) return false;
  const published = new URL(resource);
  const { protocol, hostname } = published;
  if (hostname.endsWith('.') || !resource.toLowerCase().startsWith(`${protocol}//${hostname}`)) return false;
  if (published.origin !== url.origin || published.username !== '' || published.password !== '') return false;
  if (published.search !== '' && published.href !== url.href) return false;
  const withSlash = (path: string) => (path.endsWith('/') ? path : `${path}/`);
  return withSlash(url.pathname).startsWith(withSlash(published.pathname));
}

/** The authorization servers are independent of each other; takes the first with usable metadata. */
async function firstUsable(
  issuers: readonly string[],
  resource: URL,
  options: ServerMetadataOptions,
): Promise<ServerMetadata> {
  let first: unknown;
  for (const issuer of issuers.slice(0, 5)) {
    try {
      const server = await serverMetadata(issuer, resource, options);
      if (server !== undefined) return server;
      first ??= new InvalidResponseError(`${quote(issuer)} publishes no authorization server metadata.`, {
        hint: 'Tell who runs the MCP server: its metadata names that authorization server.',
      });
    } catch (error) {
      if (error instanceof AbortedError) throw error;
      first ??= error;
    }
  }
  throw first;
}

function notMcp(resource: string, { status }: HttpResponse, hasMetadata: boolean): HoldfastError {
  if (hasMetadata) {
    return new InvalidResponseError(
      `The resource metadata of ${quote(resource)} names no authorization server.`,
      {
        hint: 'Tell who runs the MCP server.',
      },
    );
  }
  if (status >= 200 && status < 300) {
    return new NotAnMcpServerError(
      `${quote(resource)} answers without a login (HTTP ${status}), and publishes nothing to log in to.`,
      { hint: 'It needs no login, or it is not an MCP server. Check the URL.' },
    );
  }
  if (status === 401 || status === 403) {
    return new NotAnMcpServerError(
      `${quote(resource)} asks for a login (HTTP ${status}), but publishes nothing on how to log in.`,
      {
        hint: 'Check the URL. If it is right, the server takes another kind of login, such as an API key, which Holdfast does not keep; or it is of MCP 2025-03-26 and publishes nothing: --lenient legacy-endpoints,pkce-not-advertised',
      },
    );
  }
  return new NotAnMcpServerError(
    `${quote(resource)} does not answer like an MCP server (HTTP ${status}, no authorization metadata).`,
    { hint: 'Check the URL, the path included: it is mostly https://…/mcp or https://…/sse' },
  );
}
