import type { Discovery } from '../../../src/oauth/discovery/discovery.ts';
import type { ServerMetadata } from '../../../src/oauth/discovery/server-metadata.ts';

/** The parsed metadata of a plain authorization server at that origin. */
export function metadataOf(origin: string, changes: Partial<ServerMetadata> = {}): ServerMetadata {
  return {
    issuer: origin,
    authorizationEndpoint: `${origin}/authorize`,
    tokenEndpoint: `${origin}/token`,
    registrationEndpoint: undefined,
    revocationEndpoint: undefined,
    deviceAuthorizationEndpoint: undefined,
    scopesSupported: undefined,
    tokenEndpointAuthMethods: undefined,
    issParameterSupported: false,
    clientIdMetadataDocumentSupported: false,
    ...changes,
  };
}

/** The result of discovery at an MCP server with that authorization server. */
export function discoveryOf(server: ServerMetadata, changes: Partial<Discovery> = {}): Discovery {
  return {
    resource: 'https://mcp.example/mcp',
    resourceParameter: 'https://mcp.example/mcp',
    challengedScope: undefined,
    resourceScopes: undefined,
    dpopRequired: false,
    reach: 'public',
    leniencies: [],
    ...changes,
    server,
  };
}
