import type { LeniencyName } from '../credential.ts';

/**
 * What a server is allowed that MCP has its clients refuse, because a real server needs it: the user's word, for one
 * server. Nothing of it is on by itself.
 */
export interface Leniency {
  /**
   * The issuer that the metadata may name in place of the one that its URL stands for (RFC 8414 section 3.3): for a server
   * that serves many tenants from one document. Exactly this one, compared as a string.
   */
  readonly trustedIssuer?: string | undefined;
  /** Where the authorization server's metadata lies, in place of the well-known places. */
  readonly metadataUrl?: string | undefined;
  /** Metadata that does not say which PKCE methods there are (RFC 8414 section 2). PKCE is used all the same. */
  readonly pkceNotAdvertised?: boolean | undefined;
  /** No `resource` parameter (RFC 8707), for a server that takes the request for wrong with it. */
  readonly resourceOmitted?: boolean | undefined;
  /** No metadata at all: `/authorize`, `/token` and `/register` at the MCP server's origin (MCP 2025-03-26). */
  readonly legacyEndpoints?: boolean | undefined;
  /** Metadata of a server on the internet may name addresses of private networks and of this machine. */
  readonly privateAddresses?: boolean | undefined;
  /**
   * A login page, or a device code, of another origin than the issuer's, where the server does not promise `iss` (RFC 9207):
   * without either, the issuer may be posing as the client of an honest server (mix-up, RFC 9700 section 4.4).
   */
  readonly splitEndpoints?: boolean | undefined;
  /** Other users of this machine may run the server at a loopback address, and send the redirect of the login. */
  readonly otherLocalUsers?: boolean | undefined;
}

/** What a leniency did: for the listing, and for whoever watches. */
export interface LeniencyUsed {
  readonly name: LeniencyName;
  /** One plain sentence; what came from the server is quoted in it. */
  readonly message: string;
}
