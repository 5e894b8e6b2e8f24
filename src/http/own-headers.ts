/** Headers for one server only. */
export interface OwnHeaders {
  /** An origin (RFC 6454 section 6.2), such as `https://mcp.example.com`. */
  readonly origin: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The headers of one request. Later entries win: the server's own headers (only for their origin), then the request's
 * headers, then the fixed ones.
 */
export function headersFor(
  url: URL,
  own: OwnHeaders | undefined,
  given: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    ...(own?.origin === url.origin && own.headers),
    ...given,
    // Without its own agent, Node would name port 80 for https. The header omits a default port (RFC 9110 section 7.2).
    host: url.host,
    'accept-encoding': 'identity',
  };
}
