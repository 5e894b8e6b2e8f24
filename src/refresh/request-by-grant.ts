import type { AssertionSource, ClientRegistration, Credential, Grant } from '../credential.ts';
import { InvalidArgumentError, OAuthError } from '../errors.ts';
import type { RequestOptions } from '../http/request.ts';
import type { TokenResponse, TokenServer } from '../oauth/tokens/token.ts';
import { quote } from '../quote.ts';
import type { Secret } from '../secret.ts';
import type { Environment } from '../system/environment.ts';
import { readSecret } from '../system/files/secret-file.ts';
import { shellPath } from '../system/files/storage-error.ts';

/** The inputs of one token request by a grant. */
export interface GrantRequest
  extends Pick<Credential, 'client' | 'resourceParameter' | 'requestedScope' | 'dpopKey'> {
  readonly server: TokenServer;
  readonly grant: Grant;
}

/**
 * Requests tokens by a grant that needs no person, at the login and for each renewal.
 *
 * @throws InvalidArgumentError, StorageUnreadableError when the assertion is missing or is not a JWT
 * @throws OAuthError, NetworkError, TimeoutError, InvalidResponseError when a server failed
 */
export async function requestByGrant(
  request: GrantRequest,
  environment: Environment,
  options: RequestOptions,
): Promise<TokenResponse> {
  const { server, client, grant, resourceParameter, requestedScope: scope, dpopKey } = request;
  const { clientCredentials, exchangeForIdJag, jwtBearer } = await import('../oauth/tokens/grants.ts');
  const target = { resourceParameter, scope };
  const bound = { ...options, dpopKey };
  switch (grant.type) {
    case 'client_credentials':
      return explained(clientCredentials(server, client, target, bound), { server, client });
    case 'workload-identity': {
      const { assertion: from } = grant;
      const assertion = await readAssertion(from, grant.type, environment);
      const asked = jwtBearer(server, client, { ...target, assertion }, bound);
      const answer = await explained(asked, { server, client, presented: { from, token: assertion } });
      // The platform's token is the proof, each time. A refresh token would outlive it, and could be lost.
      return { ...answer, tokens: { ...answer.tokens, refreshToken: undefined } };
    }
    case 'enterprise': {
      const { assertion: from, identityProvider, identityClient } = grant;
      const idToken = await readAssertion(from, grant.type, environment);
      const asked = { ...target, idToken, audience: server.issuer };
      const assertion = await explained(exchangeForIdJag(identityProvider, identityClient, asked, options), {
        server: identityProvider,
        client: identityClient,
        presented: { from, token: idToken },
      });
      const voucher = identityProvider.issuer;
      return explained(jwtBearer(server, client, { ...target, assertion }, bound), {
        server,
        client,
        voucher,
      });
    }
  }
}

/** Reads the assertion that is stored there now. An error never shows any part of it. */
export async function readAssertion(
  from: AssertionSource,
  of: 'workload-identity' | 'enterprise',
  environment: Environment,
): Promise<Secret> {
  const says = of === 'enterprise' ? '--id-token-file' : '--workload-token-file';
  const token = await readSecret({ ...from, says }, environment);
  const { unverifiedJwt } = await import('../oauth/tokens/grants.ts');
  if (unverifiedJwt(token) !== undefined) return token;
  throw new InvalidArgumentError(`What ${sourceName(from)} holds is not a JWT (RFC 7519).`, {
    hint: 'It should hold the token alone, as it was issued: three parts with dots between them.',
  });
}

function sourceName({ file, variable }: AssertionSource): string {
  return file === undefined ? `the variable ${variable ?? ''}` : shellPath(file);
}

interface Asked {
  readonly server: TokenServer;
  readonly client: ClientRegistration;
  readonly presented?: { readonly from: AssertionSource; readonly token: Secret };
  /** The issuer of the identity provider whose assertion was sent. */
  readonly voucher?: string;
}

/** Adds a hint on what to check to a server's refusal, because no person is present to see the request. */
async function explained<T>(answer: Promise<T>, asked: Asked): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error;
    const hint = error.hint ?? (await hintFor(error.error, asked));
    throw hint === undefined ? error : new OAuthError(error.message, { error: error.error, hint });
  }
}

async function hintFor(
  error: string,
  { server, client, presented, voucher }: Asked,
): Promise<string | undefined> {
  const id = quote(client.clientId);
  switch (error) {
    case 'invalid_client':
      return `Check the client id ${id}, its secret or key, and how it proves itself: now by ${client.authMethod} (--client-auth).`;
    case 'unauthorized_client':
    case 'unsupported_grant_type':
      return `Ask who runs ${quote(server.issuer)} to allow this grant to the client ${id}.`;
    case 'invalid_scope':
      return `Name the scopes that the client ${id} may have: --scope "…"`;
    case 'invalid_grant':
      if (presented !== undefined) return hintAt(presented);
      return (
        voucher &&
        `Ask who runs ${quote(server.issuer)} whether it takes the word of ${quote(voucher)} for the client ${id}.`
      );
    default:
      return undefined;
  }
}

/** Names the token's issuer, audience and expiry: one of them is usually the cause. None of them is a secret. */
async function hintAt({ from, token }: NonNullable<Asked['presented']>): Promise<string> {
  const { unverifiedJwt } = await import('../oauth/tokens/grants.ts');
  const { iss, aud, exp } = unverifiedJwt(token)?.claims ?? {};
  const audience = Array.isArray(aud) ? aud.join(' ') : aud;
  const until = typeof exp === 'number' && Math.abs(exp) < 8e12 ? new Date(exp * 1000).toISOString() : '?';
  const said = (claim: unknown) => (typeof claim === 'string' ? quote(claim) : 'nobody');
  return `The token in ${sourceName(from)} is of the issuer ${said(iss)}, for the audience ${said(audience)}, until ${until}: check that the server trusts that issuer and takes that audience, and renew the token if it has expired.`;
}
