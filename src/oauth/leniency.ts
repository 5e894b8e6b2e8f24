import type { LeniencyName } from '../credential.ts';

/**
 * Relaxes checks that MCP requires of its clients, because a real server needs it. The user sets it, for one server.
 * Everything is off by default.
 */
export interface Leniency {
  /**
   * An issuer that the metadata may name although its URL stands for another one (RFC 8414 section 3.3). For a server
   * that describes many tenants in one document. Compared as an exact string.
   */
  readonly trustedIssuer?: string;
  /** URL of the authorization server's metadata, in place of the well-known URLs. */
  readonly metadataUrl?: string;
  /** Accept metadata that lists no PKCE methods (RFC 8414 section 2). Holdfast uses PKCE anyway. */
  readonly pkceNotAdvertised?: boolean;
  /** Send no `resource` parameter (RFC 8707), for a server that rejects requests with it. */
  readonly resourceOmitted?: boolean;
  /** Use no metadata, but `/authorize`, `/token` and `/register` at the MCP server's origin (MCP 2025-03-26). */
  readonly legacyEndpoints?: boolean;
  /** Metadata of a server on the internet may name addresses of private networks and of this machine. */
  readonly privateAddresses?: boolean;
  /**
   * Accept a login page, or a device code, from another origin than the issuer's although the server does not promise
   * `iss` (RFC 9207). Without either proof, the issuer may pose as the client of an honest server (mix-up, RFC 9700
   * section 4.4).
   */
  readonly splitEndpoints?: boolean;
  /** Other users of this machine may run the server at a loopback address, and may send the redirect of the login. */
  readonly otherLocalUsers?: boolean;
}

/** The effect of a leniency: for the listing, and for event listeners. */
export interface LeniencyUsed {
  readonly name: LeniencyName;
  /** One plain sentence; it quotes all text from the server. */
  readonly message: string;
}
