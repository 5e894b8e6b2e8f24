import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';

/** The headers that the transport sets. */
const RESERVED =
  /^(host|connection|content-length|content-type|transfer-encoding|accept|accept-encoding|mcp-session-id|mcp-protocol-version|mcp-method|mcp-name|last-event-id|dpop)$/i;

/**
 * Parses the user's extra headers from `Name: value` (as mcp-remote takes them, with or without the space).
 *
 * @param variables the values for `${VAR}` in a header
 * @throws InvalidArgumentError; it leaves out the value, which may be a secret
 */
export function ownHeaders(
  lines: readonly string[],
  variables: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, written] = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*)$/s.exec(line) ?? [];
    if (name === undefined || written === undefined) {
      throw new InvalidArgumentError('A --header is not of the form "Name: value".', {
        hint: 'Such as: --header "X-Team: blue"',
      });
    }
    if (RESERVED.test(name)) {
      throw new InvalidArgumentError(`The header ${quote(name, 40)} is set by the proxy itself.`, {
        hint: 'Leave it out.',
      });
    }
    const value = written.replace(/\$\{([^}]*)\}/g, (_, variable: string) => {
      const found = Object.hasOwn(variables, variable) ? variables[variable] : undefined;
      if (found !== undefined) return found;
      throw new InvalidArgumentError(
        `The header ${quote(name, 40)} needs the environment variable ${quote(variable, 60)}, which is not set.`,
        { hint: 'Set it in the client’s configuration, under "env".' },
      );
    });
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      throw new InvalidArgumentError(`The header ${quote(name, 40)} has a value that no header can carry.`, {
        hint: 'Line breaks and characters beyond Latin-1 are none.',
      });
    }
    headers.set(name.toLowerCase(), value.trim());
  }
  return Object.fromEntries(headers);
}
