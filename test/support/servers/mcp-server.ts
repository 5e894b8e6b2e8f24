/**
 * A real MCP server (the SDK's) in its own process, over streamable HTTP, protected as MCP requires. It checks tokens
 * at the authorization servers that it was told to trust, and names those in its metadata. It ends with its parent.
 *
 * The first argument is JSON: `McpSettings`. The first line of output is JSON: `{ resource, control }`.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { checkProof, ProofRefused, type ProofRules } from './dpop-proof.ts';
import { announce, bodyOf, listen, openControl, settingsOf } from './process.ts';
import { type Claims, type TokenSource, tokenClaims } from './token-claims.ts';

interface McpSettings {
  /** Where it publishes the metadata. */
  metadata?: 'header' | 'path' | 'root' | 'none';
  /** `scopes_supported` of the metadata; by default `tools:call` and the scopes of the tools. */
  scopesSupported?: string[];
  /** Tools besides `whoami`, and the scope of each. A call without the scope is answered 403 `insufficient_scope`. */
  toolScopes?: Record<string, string>;
  /** Accepts only tokens bound to a key (RFC 9449). A bound token always needs its proof. */
  dpop?: boolean;
  /** Demands a nonce of this server in each proof (RFC 9449 section 9). */
  dpopNonce?: boolean;
}

const PATH = '/mcp';
/** `/mcp/1`, `/mcp/2` … are separate servers, with other resources and tokens. */
const SERVER = /^\/mcp(?:\/\d+)?$/;
const WELL_KNOWN = '/.well-known/oauth-protected-resource';
const { metadata = 'header', toolScopes = {}, ...settings } = settingsOf<McpSettings>();
const scopesSupported = settings.scopesSupported ?? [
  ...new Set(['tools:call', ...Object.values(toolScopes)]),
];
const counters = { calls: 0, refused: 0, stepUps: 0 };
let trusted: TokenSource[] = [];
let nonce = settings.dpopNonce === true ? newNonce() : undefined;

const handler = createMcpHandler((context) => {
  const mcp = new McpServer({ name: 'test-server', version: '1.0.0' });
  mcp.registerTool('whoami', { description: 'Says who calls.' }, async () => {
    counters.calls += 1;
    const subject = String(context.authInfo?.extra?.['subject']);
    return { content: [{ type: 'text', text: `You are ${subject}.` }] };
  });
  for (const [tool, scope] of Object.entries(toolScopes)) {
    mcp.registerTool(tool, { description: `Needs ${scope}.` }, async () => {
      counters.calls += 1;
      return { content: [{ type: 'text', text: `Done: ${tool}.` }] };
    });
  }
  return mcp;
});

const server = createServer((request, response) => {
  void answer(request, response).catch(() => response.writeHead(500).end());
});
const origin = await listen(server);
const control = await openControl(() => counters, {
  '/trust': (sources) => {
    trusted = sources as TokenSource[];
  },
  '/new-nonce': () => {
    nonce = newNonce();
  },
});
announce({ resource: `${origin}${PATH}`, control });

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? '';
  const published = publishedAt(path);
  if (published !== undefined) {
    response.setHeader('content-type', 'application/json').end(JSON.stringify(resourceMetadata(published)));
    return;
  }
  if (!SERVER.test(path)) {
    response.writeHead(404).end();
    return;
  }
  const url = `${origin}${path}`;
  const body = await bodyOf(request);
  const [, scheme, token] = /^(Bearer|DPoP) (.+)$/i.exec(request.headers.authorization ?? '') ?? [];
  if (token === undefined) return refuse(response, 401, path, { scope: 'tools:call' });
  const claims = await tokenClaims(token, url, trusted);
  const bound = claims?.cnf?.jkt;
  // A bound token without a proof may be stolen, and a proof does not improve another token (RFC 9449 section 7.1).
  if (claims === undefined || (bound !== undefined) !== (scheme?.toLowerCase() === 'dpop')) {
    return refuse(response, 401, path, { error: 'invalid_token' });
  }
  if (settings.dpop === true && bound === undefined) {
    return refuse(response, 401, path, { error: 'invalid_token' });
  }
  if (bound !== undefined) {
    const rules: ProofRules = { method: request.method ?? '', url, token, thumbprint: bound, nonce };
    if (nonce !== undefined) response.setHeader('dpop-nonce', nonce);
    try {
      await checkProof(request.headers['dpop'], rules);
    } catch (error) {
      if (!(error instanceof ProofRefused)) throw error;
      return refuse(response, 401, path, { error: error.code });
    }
  }
  const missing = missingScope(body, claims);
  if (missing !== undefined) {
    counters.stepUps += 1;
    return refuse(response, 403, path, { error: 'insufficient_scope', scope: missing });
  }
  await handOn(request, response, url, body, token, claims);
}

async function handOn(
  request: IncomingMessage,
  response: ServerResponse,
  url: string,
  body: string,
  token: string,
  claims: Claims,
): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const served = await handler.fetch(
    new Request(url, {
      signal: gone.signal,
      method: request.method ?? 'POST',
      headers: Object.entries(request.headers).map(([name, value]): [string, string] => [
        name,
        String(value),
      ]),
      ...(body === '' ? {} : { body }),
    }),
    {
      authInfo: {
        token,
        clientId: 'test',
        scopes: claims.scope?.split(' ') ?? [],
        extra: { subject: claims.sub ?? claims.client_id },
      },
    },
  );
  response.writeHead(served.status, Object.fromEntries(served.headers));
  // Sends the headers at once, since a stream that the client listens to ends only with the client (revision
  // 2026-07-28).
  response.flushHeaders();
  try {
    for await (const chunk of served.body ?? []) response.write(chunk);
  } catch (error) {
    if (!gone.signal.aborted) throw error;
  }
  response.end();
}

/** Challenge by RFC 6750 section 3 and RFC 9449 section 7.1; `resource_metadata` by RFC 9728 section 5.1. */
function refuse(
  response: ServerResponse,
  status: 401 | 403,
  path: string,
  parameters: Readonly<Record<string, string>>,
): void {
  counters.refused += 1;
  const proof = settings.dpop === true || /dpop/.test(parameters['error'] ?? '');
  const all = {
    ...parameters,
    ...(metadata === 'header' ? { resource_metadata: `${origin}${WELL_KNOWN}${path}` } : {}),
    ...(proof ? { algs: 'ES256' } : {}),
  };
  const challenge = Object.entries(all)
    .map(([name, value]) => `${name}="${value}"`)
    .join(', ');
  response
    .writeHead(status, { 'www-authenticate': `${proof ? 'DPoP' : 'Bearer'} ${challenge}`.trim() })
    .end();
}

/** The resource whose metadata is published at that path, if any. */
function publishedAt(path: string): string | undefined {
  if (metadata === 'none' || !path.startsWith(WELL_KNOWN)) return undefined;
  const server = path.slice(WELL_KNOWN.length);
  if (metadata === 'root') return server === '' ? `${origin}${PATH}` : undefined;
  return SERVER.test(server) ? `${origin}${server}` : undefined;
}

/** Resource metadata (RFC 9728 section 2). */
function resourceMetadata(resource: string): Readonly<Record<string, unknown>> {
  return {
    resource,
    authorization_servers: trusted.map(({ issuer }) => issuer),
    scopes_supported: scopesSupported,
    ...(settings.dpop === true
      ? { dpop_bound_access_tokens_required: true, dpop_signing_alg_values_supported: ['ES256'] }
      : {}),
  };
}

/** The scope that the tool in the request needs and the token lacks. */
function missingScope(body: string, claims: Claims): string | undefined {
  if (body === '' || Object.keys(toolScopes).length === 0) return undefined;
  const { method, params } = JSON.parse(body) as { method?: string; params?: { name?: string } };
  const needed = method === 'tools/call' ? toolScopes[params?.name ?? ''] : undefined;
  if (needed === undefined || claims.scope?.split(' ').includes(needed)) return undefined;
  return needed;
}

function newNonce(): string {
  return randomBytes(12).toString('base64url');
}
