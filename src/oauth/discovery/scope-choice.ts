import { InvalidArgumentError, InvalidResponseError } from '../../errors.ts';
import { isScope, scopesIn } from '../../oauth-syntax.ts';
import { quote } from '../../quote.ts';
import type { Discovery } from './discovery.ts';

export const OFFLINE_ACCESS = 'offline_access';

/** In characters. Few servers take a longer request line, and no system an argument of any length. */
const MAX_SCOPE_LENGTH = 8192;

export interface ScopeOptions {
  /** What to ask for in place of what the server suggests. */
  readonly scopes?: readonly string[] | undefined;
  /** The server has just asked for more: its challenge counts beside what was chosen. */
  readonly stepUp?: boolean | undefined;
  /** Space-separated: what the login that is there was asked for. It is asked for again, with what the server suggests now. */
  readonly formerScope?: string | undefined;
  /** `false`: a grant that needs no person needs no `offline_access` either, and it is asked for only where it was chosen. */
  readonly offlineAccess?: false | undefined;
}

/**
 * What to ask for: the challenge's scopes, else all that the resource publishes, else none (MCP authorization, "Scope
 * Selection Strategy"); with what was asked for before (SEP-2350), so that a step-up takes nothing away. `offline_access`
 * comes with them where the authorization server lists it, for a refresh token, and is left out where that lists others only.
 *
 * @throws InvalidArgumentError when one of the chosen ones is none
 * @throws InvalidResponseError when the server suggests more than fits a URL
 */
export function scopesToAskFor(
  { challengedScope, resourceScopes, server }: Discovery,
  { scopes: chosen, stepUp, formerScope, offlineAccess }: ScopeOptions,
): readonly string[] {
  const offline = offlineAccess ?? server.scopesSupported?.includes(OFFLINE_ACCESS);
  const extra = offline === true ? [OFFLINE_ACCESS] : [];
  const wrong = chosen?.find((scope) => !isScope(scope));
  if (wrong !== undefined) {
    throw new InvalidArgumentError(`${quote(wrong)} is not a scope (RFC 6749 section 3.3).`);
  }
  if (chosen !== undefined && stepUp !== true) return [...new Set([...chosen, ...extra])];
  const suggested = challengedScope === undefined ? (resourceScopes ?? []) : scopesIn(challengedScope);
  const wanted = [...scopesIn(formerScope ?? ''), ...suggested].filter(
    (scope) => isScope(scope) && (scope !== OFFLINE_ACCESS || offline !== false),
  );
  const scopes = [...new Set([...(chosen ?? []), ...wanted, ...extra])];
  if (scopes.join(' ').length > MAX_SCOPE_LENGTH) {
    throw new InvalidResponseError(`The MCP server asks for ${scopes.length} scopes, more than fit a URL.`, {
      hint: 'Name the ones that you need: --scope "…"',
    });
  }
  return scopes;
}
