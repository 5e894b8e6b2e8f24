import { createHash } from 'node:crypto';
import {
  type ClientAuthMethod,
  type ClientRegistration,
  type Credential,
  CredentialId,
  isRenewable,
  type Tokens,
} from '../credential.ts';
import { parseCredential } from '../credential-record.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import { HoldfastError, InvalidArgumentError, IssuerMismatchError } from '../errors.ts';
import { givenClient } from '../login/client.ts';
import { credentialOf, discoverFor } from '../login/login.ts';
import { checkWritable, type LoginContext, saveLogin } from '../login/save.ts';
import type { ServerSettings } from '../login/server-settings.ts';
import type { Discovery } from '../oauth/discovery/discovery.ts';
import { quote } from '../quote.ts';
import type { Secret } from '../secret.ts';
import { shellPath } from '../system/files/storage-error.ts';
import { defined } from '../values/defined.ts';
import { acceptExternalCredential } from './accept-external.ts';
import { EXPORT_FORMAT } from './export.ts';
import { type ExternalContext, reachOf } from './external-reach.ts';
import { checkMayReplace, goodLogin } from './replacing.ts';
import type { ExternalClient, ExternalLogin, ImportOptions, NamedIssuer } from './types.ts';

/*
 * Imports a login from another program. The server supplies the data that the program did not store, such as the token
 * endpoint. The data that it did store must agree with the server's.
 */

export interface ImportContext extends LoginContext {
  readonly settings: Pick<ServerSettings, 'lenient' | 'headers'>;
}

export async function importLogin(
  external: ExternalLogin,
  options: ImportOptions,
  context: ImportContext,
): Promise<{ held: StoredCredential; outcome: 'stored' | 'already'; unconfirmed?: NamedIssuer | undefined }> {
  const id = CredentialId.of(external.resource, options.account);
  const wanted = options.accessTokenOnly === true ? 'access-token' : 'move';
  const origin = originOf(external);
  const before = await goodLogin(id, context.credentialStore);
  const earlier = before?.credential.imported;
  if (before !== undefined && earlier?.origin === origin && earlier.mode === wanted) {
    return { held: before, outcome: 'already' };
  }
  // A program's next access token may replace the one that was imported before.
  const checkReplaces = (mode: 'access-token' | 'move') =>
    checkMayReplace(
      before,
      { tokens: importedTokens(external, mode), grant: undefined },
      options.replace === true,
    );
  checkReplaces(wanted);
  checkUsable(external, options);
  await checkWritable(context, id, options);
  const { lenient, headers } = context.settings;
  const discovery = await discoverFor(
    id,
    defined({ lenient, headers, signal: options.signal }),
    context,
    false,
  );
  checkIssuer(external, discovery, options.issuer);
  const unconfirmed = wanted === 'move' ? unconfirmedIssuer(external, options, discovery) : undefined;
  const mode = unconfirmed === undefined ? wanted : 'access-token';
  checkReplaces(mode);
  const imported = { from: external.from, mode, at: Date.now(), origin } as const;
  const client = registrationOf(external.client, discovery);
  const answer = {
    tokens: importedTokens(external, mode),
    scope: external.scope,
    issuedTokenType: undefined,
  };
  const { requestedScope } = external;
  const credential = await acceptExternalCredential(
    credentialOf(id, discovery, answer, {
      generation: 1,
      requestedScope,
      client: mode === 'move' ? client : publicPart(client),
    }),
    { reach: discovery.reach, refuse: (why) => cannotImport(external, why) },
  );
  const held = await saveLogin(context, id, options, (generation) => ({
    ...credential,
    generation,
    imported,
  }));
  return { held, outcome: 'stored', unconfirmed };
}

/**
 * Returns the authorization server that the MCP server names now. Stores nothing.
 *
 * @throws the errors of discovery
 */
export async function namedIssuer(
  id: CredentialId,
  signal: AbortSignal | undefined,
  context: ImportContext,
): Promise<NamedIssuer> {
  const { lenient, headers } = context.settings;
  const { server } = await discoverFor(id, defined({ lenient, headers, signal }), context, false);
  return { issuer: server.issuer, tokenEndpoint: server.tokenEndpoint };
}

/** Saves the output of `exportLogin`, after the checks of a hand-over: anybody may have written it. */
export async function importExported(
  json: Secret,
  options: ImportOptions,
  context: ExternalContext,
): Promise<StoredCredential> {
  const credential = await exportedCredential(json, context);
  const id = CredentialId.of(credential.resource, options.account ?? credential.account);
  checkMayReplace(await goodLogin(id, context.credentialStore), credential, options.replace === true);
  await checkWritable(context, id, options);
  return saveLogin(context, id, options, (generation) => ({
    ...credential,
    resource: id.resource,
    account: id.account,
    generation,
    received: { mode: isRenewable(credential) ? 'move' : 'access-token', at: credential.loggedInAt },
  }));
}

async function exportedCredential(json: Secret, context: ExternalContext): Promise<Credential> {
  const refuse = (why: string) =>
    new InvalidArgumentError(`That is no login as holdfast export writes it: ${why}.`, {
      hint: 'Give the whole JSON, such as: holdfast import - < FILE',
    });
  let values: unknown;
  try {
    values = JSON.parse(json.reveal());
  } catch {
    // JSON.parse quotes its input in the message, so do not keep its error as cause.
    throw refuse('it is not JSON');
  }
  if (
    typeof values !== 'object' ||
    values === null ||
    !('format' in values) ||
    values.format !== EXPORT_FORMAT
  ) {
    throw refuse(`its format is not ${EXPORT_FORMAT}`);
  }
  let written: Credential;
  try {
    written = parseCredential(Buffer.from(json.reveal(), 'utf8'));
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'record-damaged') {
      throw refuse('a field is missing, or has another type');
    }
    throw error;
  }
  return acceptExternalCredential(written, { reach: await reachOf(written, context), refuse });
}

/** Identifies the tokens by a hash, which reveals nothing. */
function originOf({ accessToken, refreshToken }: ExternalLogin): string {
  return createHash('sha256')
    .update((refreshToken ?? accessToken).reveal())
    .digest('base64url');
}

function logInHere({ resource }: ExternalLogin): string {
  return `Log in here: holdfast login ${resource}`;
}

function cannotImport(
  external: ExternalLogin,
  why: string,
  hint = logInHere(external),
): InvalidArgumentError {
  return new InvalidArgumentError(`The login to ${quote(external.resource)} cannot be imported: ${why}.`, {
    hint,
  });
}

function checkUsable(external: ExternalLogin, { accessTokenOnly }: ImportOptions): void {
  const { tokenType = 'Bearer', refreshToken, expiresAt, client } = external;
  const refuse = (why: string, hint: string) => cannotImport(external, why, hint);
  const again = logInHere(external);
  if (tokenType.toLowerCase() !== 'bearer') {
    throw refuse(`its token is of type ${quote(tokenType, 40)}, and what it is bound to is not there`, again);
  }
  const lapsed = expiresAt !== undefined && expiresAt <= Date.now();
  if (lapsed && (accessTokenOnly === true || refreshToken === undefined)) {
    throw refuse(
      'its access token has expired',
      accessTokenOnly === true && refreshToken !== undefined ? 'Leave out --access-token-only.' : again,
    );
  }
  if (accessTokenOnly !== true && refreshToken !== undefined && client === undefined) {
    throw refuse(
      'nothing says which client it was made as, so it cannot be refreshed',
      `Take the access token alone: --access-token-only. ${again}`,
    );
  }
}

/** Makes sure that the refresh token goes only to the server that issued it. */
function checkIssuer(
  { resource, issuer, tokenEndpoint, from }: ExternalLogin,
  { server }: Discovery,
  given: string | undefined,
): void {
  // Some programs store the issuer as a URL object prints it, with a trailing slash.
  const bare = (text: string) => text.replace(/\/$/, '');
  if (given !== undefined && bare(given) !== bare(server.issuer)) {
    throw new IssuerMismatchError(
      `You name ${quote(given)} as the issuer, and ${quote(resource)} names ${quote(server.issuer)}.`,
      { hint: `Nothing was sent there, and nothing was moved. Log in again: holdfast login ${resource}` },
    );
  }
  const differs =
    (issuer !== undefined && bare(issuer) !== bare(server.issuer) && `was issued by ${quote(issuer)}`) ||
    (tokenEndpoint !== undefined &&
      bare(tokenEndpoint) !== bare(server.tokenEndpoint) &&
      `is refreshed at ${quote(tokenEndpoint)}`);
  if (!differs) return;
  throw new IssuerMismatchError(
    `The login that ${from} has ${differs}, and the MCP server now names ${quote(server.issuer)}.`,
    { hint: 'Nothing was sent there, and nothing was moved. Log in anew: holdfast login URL' },
  );
}

/** Tells whether the program did not record the server that would get the refresh token. */
export function lacksIssuer({ refreshToken, issuer, tokenEndpoint }: ExternalLogin): boolean {
  return refreshToken !== undefined && issuer === undefined && tokenEndpoint === undefined;
}

/**
 * Returns the server that would get the refresh token if only the MCP server says now that it issued the login, and
 * neither the program nor the user confirms it. The MCP server could then obtain the refresh token, which it otherwise
 * never sees.
 *
 * @throws InvalidArgumentError when the access token alone is useless
 */
function unconfirmedIssuer(
  external: ExternalLogin,
  options: ImportOptions,
  { server }: Discovery,
): NamedIssuer | undefined {
  const { expiresAt, from, resource } = external;
  if (options.issuer !== undefined || !lacksIssuer(external)) return undefined;
  const named = { issuer: server.issuer, tokenEndpoint: server.tokenEndpoint };
  if (expiresAt === undefined || expiresAt > Date.now()) return named;
  throw new InvalidArgumentError(
    `${from} has not recorded who issued the login to ${resource}, and its access token has expired. ` +
      `The refresh token would be sent to ${new URL(server.tokenEndpoint).host}, because the MCP server names it now.`,
    { hint: `If that is where you logged in, add: --issuer ${shellPath(server.issuer)}` },
  );
}

const AUTH_METHODS: readonly string[] = ['none', 'client_secret_basic', 'client_secret_post'];

function registrationOf(external: ExternalClient | undefined, { server }: Discovery): ClientRegistration {
  // Enough for an access token alone, which needs no client.
  if (external === undefined)
    return { clientId: 'unknown', authMethod: 'none', redirectUris: [], source: 'dynamic' };
  const { id, secret, secretExpiresAt, redirectUris = [] } = external;
  const said = external.authMethod;
  const fits =
    said !== undefined && AUTH_METHODS.includes(said) && said.startsWith('client_secret') === !!secret;
  const authMethod = fits ? (said as ClientAuthMethod) : undefined;
  const client = givenClient(defined({ id, secret, authMethod }), server.tokenEndpointAuthMethods);
  return {
    ...client,
    clientSecretExpiresAt: client.clientSecret === undefined ? undefined : secretExpiresAt,
    redirectUris: redirectUris.filter((uri) => URL.canParse(uri)),
    source: id.startsWith('https://') ? 'metadata-document' : 'dynamic',
  };
}

function publicPart({ clientId, redirectUris, source }: ClientRegistration): ClientRegistration {
  return { clientId, redirectUris, source, authMethod: 'none' };
}

function importedTokens(external: ExternalLogin, mode: 'move' | 'access-token'): Tokens {
  const now = Date.now();
  const { accessToken, refreshToken, expiresAt, obtainedAt = now } = external;
  return {
    accessToken,
    tokenType: 'Bearer',
    refreshToken: mode === 'move' ? refreshToken : undefined,
    // Neither in the future nor after expiry: either would look like a wrong clock.
    obtainedAt: Math.max(0, Math.min(obtainedAt, now, expiresAt ?? now)),
    expiresAt,
  };
}
