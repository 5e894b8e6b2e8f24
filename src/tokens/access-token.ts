import type { Secret } from '../secret.ts';

export interface TokenOptions {
  readonly account?: string | undefined;
  /** How long to wait for another process's refresh and for the network, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number | undefined;
  /** Ends the caller's wait. A refresh that is under way goes on for the others who wait for it. */
  readonly signal?: AbortSignal | undefined;
  /**
   * The `generation` of a token that the MCP server has just answered with 401 (RFC 6750 section 3.1). If it is still the
   * newest, it is refreshed before its time, and bounded: after five within a minute that helped nothing, the call fails.
   */
  readonly rejectedGeneration?: number | undefined;
}

/** The request that a DPoP proof is for (RFC 9449 section 4.2). */
export interface ProofRequest {
  readonly method: string;
  readonly url: string;
  /** What the server asked for in its last `DPoP-Nonce` header. */
  readonly nonce?: string | undefined;
}

export interface AccessToken {
  readonly token: Secret;
  readonly tokenType: string;
  /** Milliseconds since the epoch; `undefined` when the server did not say. */
  readonly expiresAt: number | undefined;
  readonly generation: number;
  /** The scopes that were asked for, as one list; absent when none were. What a step-up adds to. */
  readonly requestedScope?: string | undefined;
  /** The scopes that were granted, as one list; absent when the server never said. */
  readonly grantedScope?: string | undefined;
  /** The authorization server that issued it. */
  readonly issuer: string;
  /** Present when the token is bound to a key: the proof that goes into the `DPoP` header of one request. */
  readonly proof?: ((request: ProofRequest) => string) | undefined;
}

export interface HeadersOptions extends TokenOptions {
  /** Needed where the token is bound to a key (DPoP): its proof is good for this one request. */
  readonly request?: ProofRequest | undefined;
}

/** The headers that carry a token: `Bearer` (RFC 6750 section 2.1), or `DPoP` with its proof (RFC 9449 section 7.1). */
export type TokenHeaders = { readonly Authorization: string; readonly DPoP?: string };
