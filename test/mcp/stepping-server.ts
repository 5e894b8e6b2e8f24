import { type HostileServer, hostileServer, type LoggedRequest } from '../support/servers/hostile-server.ts';
import { metadata, OAUTH, RESOURCE } from '../support/servers/mcp-routes.ts';

export interface SteppingServer extends HostileServer {
  readonly resource: string;
  /** The scopes that each login asked for, in order. */
  readonly asked: readonly string[];
}

/**
 * An MCP server with its own authorization server, which grants every request without asking a user.
 *
 * @param demands decides on a request by the scopes of its token: returns the scopes that it lacks, `refused` for a 401, or
 * undefined to accept it
 */
export async function steppingServer(
  demands: (scopes: readonly string[], request: LoggedRequest) => string | undefined,
): Promise<SteppingServer> {
  const asked: string[] = [];
  const codes = new Map<string, string>();
  const tokens = new Map<string, string>();
  const server = await hostileServer((origin) => ({
    '/mcp': (request, response) => {
      const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
      const scope = tokens.get(token);
      const pointer = `resource_metadata="${origin}${RESOURCE}/mcp"`;
      const missing = scope === undefined ? 'refused' : demands(scope.split(' '), request);
      if (missing === 'refused') {
        response.writeHead(401, { 'www-authenticate': `Bearer scope="read", ${pointer}` }).end();
      } else if (missing !== undefined) {
        const challenge = `Bearer error="insufficient_scope", scope="${missing}", ${pointer}`;
        response.writeHead(403, { 'www-authenticate': challenge }).end('more');
      } else {
        response.writeHead(200, { 'content-type': 'application/json' }).end('{"served":true}');
      }
    },
    [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: [origin] },
    [OAUTH]: metadata(origin),
    '/register': (request, response) => {
      response.writeHead(201, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          ...JSON.parse(request.body),
          client_id: 'client',
          token_endpoint_auth_method: 'none',
        }),
      );
    },
    '/authorize': (request, response) => {
      const query = new URL(request.url, origin).searchParams;
      const code = `code-${codes.size}`;
      codes.set(code, query.get('scope') ?? '');
      asked.push(query.get('scope') ?? '');
      const back = new URL(query.get('redirect_uri') ?? '');
      back.search = String(new URLSearchParams({ code, state: query.get('state') ?? '' }));
      response.writeHead(302, { location: back.href }).end();
    },
    '/token': (request, response) => {
      const scope = codes.get(new URLSearchParams(request.body).get('code') ?? '') ?? '';
      const access_token = `token-${tokens.size}`;
      tokens.set(access_token, scope);
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ access_token, token_type: 'Bearer', expires_in: 3600, scope }));
    },
  }));
  return Object.assign(server, { resource: `${server.origin}/mcp`, asked });
}
