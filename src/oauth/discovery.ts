import * as v from 'valibot';
import { isLoopback } from '../credential.ts';
import {
  HoldfastError,
  InvalidResponseError,
  IssuerMismatchError,
  NotAnMcpServerError,
  ServerUnsupportedError,
  UnsafeUrlError,
} from '../errors.ts';
import { quote } from '../quote.ts';
import { VERSION } from '../version.ts';
import { type BearerChallenge, bearerChallenge } from './challenge.ts';
import { checkUrl, type HttpResponse, type RequestOptions, send } from './http.ts';
import { checkServerUp } from './protocol-error.ts';

/*
 * From the URL of an MCP server to its authorization server: protected resource metadata (RFC 9728), then authorization
 * server metadata (RFC 8414, OpenID Connect Discovery), in the order that MCP prescribes. A document that is there and
 * wrong is an error; only one that is not there leads to the next place.
 */

/** What a login needs of the authorization server's metadata (RFC 8414 section 2). */
export interface ServerMetadata {
  readonly issuer: string;
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly registrationEndpoint: string | undefined;
  readonly revocationEndpoint: string | undefined;
  readonly scopesSupported: readonly string[] | undefined;
  readonly tokenEndpointAuthMethods: readonly string[] | undefined;
  /** RFC 9207 section 3. */
  readonly issParameterSupported: boolean;
}

export interface Discovery {
  /** The canonical URI that discovery began with. */
  readonly resource: string;
  /** What is sent as `resource`: the published string, byte for byte; the canonical URI where none is published. */
  readonly resourceParameter: string;
  readonly challengedScope: string | undefined;
  readonly resourceScopes: readonly string[] | undefined;
  readonly server: ServerMetadata;
}

const scopes = v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(256))), v.maxLength(1000)));

const ResourceMetadata = v.object({
  resource: v.pipe(v.string(), v.nonEmpty(), v.maxLength(2048)),
  authorization_servers: v.optional(v.pipe(v.array(v.string()), v.maxLength(100))),
  scopes_supported: scopes,
});

const AuthorizationServerMetadata = v.object({
  issuer: v.string(),
  authorization_endpoint: v.optional(v.string()),
  token_endpoint: v.optional(v.string()),
  registration_endpoint: v.optional(v.string()),
  revocation_endpoint: v.optional(v.string()),
  scopes_supported: scopes,
  token_endpoint_auth_methods_supported: v.optional(v.array(v.string())),
  code_challenge_methods_supported: v.optional(v.array(v.string())),
  authorization_response_iss_parameter_supported: v.optional(v.boolean()),
});

/**
 * Characters that no authorization endpoint needs and that a shell, or a careless opener, would act on. `&`, `?`, `#`
 * and `%` belong to URLs; nothing of ours gives a URL to a shell either.
 */
const SUSPICIOUS = /[\s"'`$()<>|\\^{};]|\p{Cc}/u;

const MAX_URL_LENGTH = 2048;

/**
 * Finds out how to log in at an MCP server. Sends no token and stores nothing.
 *
 * @param resource its canonical URI
 * @throws NotAnMcpServerError when nothing there speaks MCP authorization
 * @throws IssuerMismatchError, UnsafeUrlError, InvalidResponseError, ServerUnsupportedError for what it publishes
 * @throws NetworkError, TimeoutError, ResponseTooLargeError
 */
export async function discover(resource: string, options: RequestOptions = {}): Promise<Discovery> {
  const url = new URL(resource);
  const probe = await probeServer(url, options);
  const challenge = probe.status === 401 || probe.status === 403 ? bearerChallenge(probe.headers) : undefined;
  const published = await resourceMetadata(url, challenge, options);
  const issuers = published?.authorization_servers ?? [];
  const server =
    issuers.length > 0
      ? await firstUsable(issuers, url, options)
      : // Servers of MCP 2025-03-26 are their own authorization server, at the root of their origin.
        await serverMetadata(url.origin, url, options);
  if (server === undefined) throw notMcp(resource, probe, published !== undefined);
  return {
    resource,
    resourceParameter: published?.resource ?? resource,
    challengedScope: challenge?.scope,
    resourceScopes: published?.scopes_supported,
    server,
  };
}

/** Asks as an MCP client would that has no token. The answer's head is all that is needed. */
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
        protocolVersion: '2025-06-18',
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

/** RFC 9728: where the challenge says; else at the well-known URL with the server's path, else at the root. */
async function resourceMetadata(
  url: URL,
  challenge: BearerChallenge | undefined,
  options: RequestOptions,
): Promise<v.InferOutput<typeof ResourceMetadata> | undefined> {
  const path = url.pathname === '/' ? '' : url.pathname;
  const places = [
    ...(challenge?.resourceMetadata === undefined ? [] : [challenge.resourceMetadata]),
    `${url.origin}/.well-known/oauth-protected-resource${path}${url.search}`,
    ...(path === '' ? [] : [`${url.origin}/.well-known/oauth-protected-resource`]),
  ];
  for (const place of places) {
    // A challenge of a server elsewhere must not send us to this machine's own services.
    endpoint(place, 'resource metadata', url);
    const json = await getJson(place, options);
    if (json === undefined) continue;
    const metadata = v.safeParse(ResourceMetadata, json);
    if (!metadata.success) throw malformed('The resource metadata', place, metadata.issues);
    if (!covers(metadata.output.resource, url)) {
      // RFC 9728 section 3.3: metadata of another resource must not be used.
      throw new InvalidResponseError(
        `The resource metadata at ${quote(place)} is that of ${quote(metadata.output.resource)}, not of ${quote(url.href)}.`,
        { hint: 'Check the URL. If it is right, tell who runs the server.' },
      );
    }
    return metadata.output;
  }
  return undefined;
}

/** Same origin, and a path that the server's path begins with. */
function covers(resource: string, url: URL): boolean {
  if (!URL.canParse(resource)) return false;
  const published = new URL(resource);
  if (published.origin !== url.origin || published.hash !== '') return false;
  const withSlash = (path: string) => (path.endsWith('/') ? path : `${path}/`);
  return withSlash(url.pathname).startsWith(withSlash(published.pathname));
}

/** Each authorization server is independent; the first whose metadata is there and good is taken. */
async function firstUsable(
  issuers: readonly string[],
  resource: URL,
  options: RequestOptions,
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
      first ??= error;
    }
  }
  throw first;
}

async function serverMetadata(
  issuer: string,
  resource: URL,
  options: RequestOptions,
): Promise<ServerMetadata | undefined> {
  const url = endpoint(issuer, 'issuer', resource);
  if (url.search !== '' || url.hash !== '') {
    throw new UnsafeUrlError(`The issuer ${quote(issuer)} has a query or a fragment (RFC 8414 section 2).`);
  }
  for (const place of metadataPlaces(url)) {
    const json = await getJson(place, options);
    if (json === undefined) continue;
    const metadata = v.safeParse(AuthorizationServerMetadata, json);
    if (!metadata.success) throw malformed('The authorization server metadata', place, metadata.issues);
    return checkedMetadata(metadata.output, issuer, place, resource);
  }
  return undefined;
}

/** RFC 8414 section 3.1 inserts the suffix before the path; OpenID Connect Discovery also appends it. */
function metadataPlaces({ origin, pathname }: URL): string[] {
  const path = pathname.replace(/\/$/, '');
  return path === ''
    ? [`${origin}/.well-known/oauth-authorization-server`, `${origin}/.well-known/openid-configuration`]
    : [
        `${origin}/.well-known/oauth-authorization-server${path}`,
        `${origin}/.well-known/openid-configuration${path}`,
        `${origin}${path}/.well-known/openid-configuration`,
      ];
}

function checkedMetadata(
  metadata: v.InferOutput<typeof AuthorizationServerMetadata>,
  issuer: string,
  place: string,
  resource: URL,
): ServerMetadata {
  if (metadata.issuer !== issuer) {
    throw new IssuerMismatchError(
      `The authorization server at ${quote(place)} calls itself ${quote(metadata.issuer)}, not ${quote(issuer)}.`,
      {
        hint: 'One server may be posing as another (RFC 8414 section 3.3), so nothing was sent to it. Tell who runs the MCP server.',
      },
    );
  }
  const { authorization_endpoint: authorization, token_endpoint: token } = metadata;
  if (authorization === undefined || token === undefined) {
    throw new InvalidResponseError(
      `The metadata of ${quote(issuer)} names no ${authorization === undefined ? 'authorization' : 'token'} endpoint.`,
      { hint: 'Tell who runs the authorization server.' },
    );
  }
  if (metadata.code_challenge_methods_supported?.includes('S256') !== true) {
    throw new ServerUnsupportedError(`${quote(issuer)} does not say that it supports PKCE with S256.`, {
      hint: 'MCP clients must refuse such a server (RFC 7636, MCP authorization). Tell who runs it.',
    });
  }
  if (SUSPICIOUS.test(authorization)) {
    throw new UnsafeUrlError(
      `The authorization endpoint of ${quote(issuer)} holds characters that a shell would act on: ${quote(authorization)}.`,
      { hint: 'It was not opened. Tell who runs the server.' },
    );
  }
  const optional = (url: string | undefined, name: string) => {
    if (url !== undefined) endpoint(url, name, resource);
    return url;
  };
  endpoint(authorization, 'authorization endpoint', resource);
  endpoint(token, 'token endpoint', resource);
  return {
    issuer,
    authorizationEndpoint: authorization,
    tokenEndpoint: token,
    registrationEndpoint: optional(metadata.registration_endpoint, 'registration endpoint'),
    revocationEndpoint: optional(metadata.revocation_endpoint, 'revocation endpoint'),
    scopesSupported: metadata.scopes_supported,
    tokenEndpointAuthMethods: metadata.token_endpoint_auth_methods_supported,
    issParameterSupported: metadata.authorization_response_iss_parameter_supported ?? false,
  };
}

/** A URL out of a server's metadata: https; http to this machine only when the MCP server itself is on this machine. */
function endpoint(text: string, name: string, resource: URL): URL {
  const shown = quote(text);
  const refuse = (why: string) =>
    new UnsafeUrlError(`The server names the ${name} ${shown}, ${why}.`, {
      hint: 'It was not used. Tell who runs the server.',
    });
  if (text.length > MAX_URL_LENGTH || /[\s\p{Cc}]/u.test(text) || !URL.canParse(text)) {
    throw refuse('which is not a URL');
  }
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw refuse('which is neither http nor https');
  if (url.username !== '' || url.password !== '') throw refuse('which carries a user name or password');
  if (isLoopback(url) && !isLoopback(resource)) throw refuse('which is on your own machine');
  if (url.protocol === 'http:' && !isLoopback(url)) throw refuse('which is not https');
  return url;
}

/** The JSON object at that URL; `undefined` where there is none (4xx, or a web page in its place). */
async function getJson(place: string, options: RequestOptions): Promise<object | undefined> {
  const response = await send(checkUrl(place), {
    ...options,
    method: 'GET',
    headers: { accept: 'application/json', 'mcp-protocol-version': '2025-06-18' },
  });
  checkServerUp(response, quote(new URL(place).host));
  const type = response.headers.get('content-type') ?? '';
  if (response.status !== 200 || /html/i.test(type)) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(response.body));
  } catch {
    throw new InvalidResponseError(`What ${quote(place)} answers is not JSON.`, {
      hint: 'Check the URL. If it is right, tell who runs the server.',
    });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new InvalidResponseError(`What ${quote(place)} answers is JSON, but not an object.`, {
      hint: 'Check the URL. If it is right, tell who runs the server.',
    });
  }
  return json;
}

function malformed(
  what: string,
  place: string,
  issues: readonly v.BaseIssue<unknown>[],
): InvalidResponseError {
  const where = issues.map((issue) => v.getDotPath(issue) ?? 'the whole').slice(0, 3);
  return new InvalidResponseError(`${what} at ${quote(place)} is malformed: ${quote(where.join(', '))}.`, {
    hint: 'Tell who runs the server.',
  });
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
  return new NotAnMcpServerError(
    `${quote(resource)} does not answer like an MCP server (HTTP ${status}, no authorization metadata).`,
    { hint: 'Check the URL, the path included: it is mostly https://…/mcp or https://…/sse' },
  );
}
