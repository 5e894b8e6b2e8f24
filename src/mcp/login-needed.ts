import type { CredentialId } from '../credential.ts';
import { loginCommand } from '../credentials/login-required.ts';
import { InsufficientScopeError, InvalidArgumentError, LoginRequiredError } from '../errors.ts';
import { quote } from '../quote.ts';
import { shellPath } from '../system/files/storage-error.ts';

/* Errors for an access token that does not suffice, each with the command that fixes it. */

/** The server refused a token and its replacement. */
export function refusesItsTokens(id: CredentialId): LoginRequiredError {
  return new LoginRequiredError(
    `${id.resource} refuses the access token of this login, though it was just renewed.`,
    {
      hint: `Log in again: ${loginCommand(id.resource, id.account)}`,
    },
  );
}

/**
 * The server asks for scopes that the login does not have.
 *
 * @param asked the scopes that the server asks for (RFC 6750 section 3.1)
 * @param before the scopes of the current login; the command requests both, since an authorization server may grant
 *   only the requested scopes
 */
export function lacksScopes(
  { resource, account }: CredentialId,
  asked: readonly string[],
  before: string | undefined,
): InsufficientScopeError {
  const which = asked.length === 0 ? 'more scopes' : `the scopes ${quote(asked.join(' '))}`;
  const all = [...new Set([...(before?.split(' ') ?? []), ...asked])].join(' ');
  const scope = asked.length === 0 ? '' : ` --scope ${shellPath(all)}`;
  return new InsufficientScopeError(`${resource} asks for ${which}, which this login does not have.`, {
    hint: `Log in for them: ${loginCommand(resource, account)}${scope}`,
  });
}

/** The SDK sends a key-bound token without its proof. */
export function lacksItsProof({ resource }: CredentialId): InvalidArgumentError {
  return new InvalidArgumentError(
    `The access token for ${resource} is bound to a key (DPoP, RFC 9449), and was sent without its proof.`,
    {
      hint: 'Give the transport the provider’s fetch too: { authProvider: provider, fetch: provider.fetch }',
    },
  );
}
