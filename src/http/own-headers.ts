/** Headers that are meant for one server. */
export interface OwnHeaders {
  /** RFC 6454 section 6.2, such as `https://mcp.example.com`. */
  readonly origin: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The headers of one request: those of the server's own where it goes to their origin, and never elsewhere; then those of the
 * request; then those that nobody may choose.
 */
export function headersFor(
  url: URL,
  own: OwnHeaders | undefined,
  given: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    ...(own?.origin === url.origin && own.headers),
    ...given,
    // Node would name port 80 for https without an agent of its own. A default port is not named (RFC 9110 section 7.2).
    host: url.host,
    'accept-encoding': 'identity',
  };
}
