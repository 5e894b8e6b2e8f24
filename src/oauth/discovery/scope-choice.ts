import { InvalidArgumentError, InvalidResponseError } from '../../errors.ts';
import { isScope, scopesIn } from '../../oauth-syntax.ts';
import { quote } from '../../quote.ts';
import type { Discovery } from './discovery.ts';

export const OFFLINE_ACCESS = 'offline_access';

/** In characters. Few servers accept a longer request line, and every system limits the length of an argument. */
const MAX_SCOPE_LENGTH = 8192;

export interface ScopeOptions {
  /** Scopes to request in place of those that the server suggests. */
  readonly scopes?: readonly string[] | undefined;
  /** The server has just asked for more scopes: request those of its challenge beside the chosen ones. */
  readonly stepUp?: boolean | undefined;
  /**
   * Space-separated: the scopes that the stored login requested. Requested again, with the scopes that the server
   * suggests now.
   */
  readonly formerScope?: string | undefined;
  /** `false`: a grant without a user needs no `offline_access`, so it is requested only if the caller chose it. */
  readonly offlineAccess?: false | undefined;
}

/**
 * Chooses the scopes to request: those of the challenge, else all that the resource publishes, else none (MCP
 * authorization, "Scope Selection Strategy"). Adds the scopes of the former request (SEP-2350), so that a step-up
 * removes none. Adds `offline_access`, for a refresh token, if the authorization server lists it; drops it if the
 * server lists only others.
 *
 * @throws InvalidArgumentError when a chosen scope is not valid
 * @throws InvalidResponseError when the server suggests more scopes than fit a URL
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
