/*
 * The client's description for an authorization server: for dynamic registration (RFC 7591 section 2), or in a document
 * whose URL is the client id (draft-ietf-oauth-client-id-metadata-document).
 */

/** RFC 8628 section 3.4. */
export const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

/**
 * The ports of the document's redirect URIs. A server that compares redirect URIs as strings accepts only these ports.
 * A server that follows RFC 8252 section 7.3 accepts any.
 */
export const DOCUMENT_PORTS: readonly number[] = [41_720, 41_721, 41_722];

/** Describes a native application (RFC 8252) with refresh tokens. Without a redirect URI, it logs in by device code. */
export function clientMetadata(redirectUris: readonly string[]): Readonly<Record<string, unknown>> {
  const byBrowser = redirectUris.length > 0;
  return {
    client_name: 'Holdfast',
    application_type: 'native',
    redirect_uris: redirectUris,
    grant_types: [byBrowser ? 'authorization_code' : DEVICE_GRANT, 'refresh_token'],
    response_types: byBrowser ? ['code'] : [],
  };
}

/** Builds the document to publish at that URL. */
export function clientMetadataDocument(url: string): Readonly<Record<string, unknown>> {
  const hosts = ['127.0.0.1', 'localhost'];
  return {
    client_id: url,
    ...clientMetadata([
      ...hosts.map((host) => `http://${host}/callback`),
      ...DOCUMENT_PORTS.flatMap((port) => hosts.map((host) => `http://${host}:${port}/callback`)),
    ]),
    token_endpoint_auth_method: 'none',
  };
}
