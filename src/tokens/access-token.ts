import type { Secret } from '../secret.ts';

export interface TokenOptions {
  readonly account?: string;
  /** Time limit for another process's refresh and for the network, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number;
  /** Aborts this caller's wait. A running refresh continues for its other callers. */
  readonly signal?: AbortSignal;
  /**
   * The `generation` of a token that the MCP server has just answered with 401 (RFC 6750 section 3.1). If it is still
   * the newest, it is refreshed early. Limit: after five ineffective refreshes within a minute, the call fails.
   */
  readonly rejectedGeneration?: number;
}

/** The request that a DPoP proof is for (RFC 9449 section 4.2). */
export interface ProofRequest {
  readonly method: string;
  readonly url: string;
  /** The nonce of the server's last `DPoP-Nonce` header. */
  readonly nonce?: string;
}

export interface AccessToken {
  readonly token: Secret;
  readonly tokenType: string;
  /** Milliseconds since the epoch; `undefined` when the server did not say. */
  readonly expiresAt: number | undefined;
  readonly generation: number;
  /** The scopes that the login requested, as one list; absent when it requested none. A step-up adds to them. */
  readonly requestedScope?: string | undefined;
  /** The granted scopes, as one list; absent when the server never named them. */
  readonly grantedScope?: string | undefined;
  /** The authorization server that issued the token. */
  readonly issuer: string;
  /** Present when the token is bound to a key: signs the proof for the `DPoP` header of one request. */
  readonly proof?: ((request: ProofRequest) => string) | undefined;
}

export interface HeadersOptions extends TokenOptions {
  /** Required if the token is bound to a key (DPoP): its proof is valid for this request only. */
  readonly request?: ProofRequest;
}

/** The headers that carry a token: `Bearer` (RFC 6750 section 2.1), or `DPoP` with its proof (RFC 9449 section 7.1). */
export type TokenHeaders = { readonly Authorization: string; readonly DPoP?: string };
