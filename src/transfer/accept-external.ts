import {
  accountLabel,
  type ClientRegistration,
  type Credential,
  canonicalResource,
  LENIENCIES,
  MAX_RESOURCE_LENGTH,
  type Reach,
  type Tokens,
} from '../credential.ts';
import { HoldfastError, InvalidArgumentError, UnsafeUrlError } from '../errors.ts';
import { checkPublishedUrl } from '../http/safe-url.ts';
import { isClientId, isToken, knownTokenType, LONGEST_TOKEN_LIFE_S, scopesIn } from '../oauth-syntax.ts';
import { isPrintable, quote } from '../quote.ts';
import type { Secret } from '../secret.ts';

/*
 * Checks a credential from elsewhere: from a hand-over, from exported JSON or from another program's file. Anybody may
 * have written it. So it must pass the checks of a server's response before it is stored: its content is only a claim.
 */

const URL_TEXT = /^[\x21-\x7e]{1,2048}$/;
const RESOURCE_TEXT = new RegExp(`^[\\x21-\\x7e]{1,${MAX_RESOURCE_LENGTH}}$`);
const ALGORITHM = /^[\w-]{1,32}$/;
const LONGEST_SECRET = 65_536;
const LONGEST_LIST = 32;

/** The last moment of the year 9999, in milliseconds: not every system accepts later dates. */
const LAST_MOMENT = 253_402_300_799_999;

export interface Acceptance {
  /** How far its requests may go. Determined on this machine, never by the sender. */
  readonly reach: Reach;
  /** Builds the error of the calling command. `why` is a clause: `its access token can be no token`. */
  readonly refuse: (why: string) => HoldfastError;
}

/**
 * Returns the credential as it may be stored: every text has the form that a server's response must have, and every
 * time is plausible. Its history does not come along: it starts at generation 1.
 *
 * @throws the error of `refuse` for an unusable credential; an unknown scope or leniency is dropped instead
 */
export async function acceptExternalCredential(
  credential: Credential,
  { reach, refuse }: Acceptance,
): Promise<Credential> {
  const now = Date.now();
  const { account, grant, server, loginRequired } = credential;
  // This machine would read an assertion from its own file or variable, and send it to a server that the sender names.
  if (grant !== undefined) throw refuse('it holds a grant that never leaves its machine');
  if (loginRequired !== undefined) throw refuse('that login has ended');
  const resource = resourceOf(credential, refuse);
  const endpoint = (text: string, name: string) => {
    if (!URL_TEXT.test(text)) throw refuse(`its ${name} is not a URL`);
    try {
      checkPublishedUrl(text, name, resource);
    } catch (error) {
      throw error instanceof UnsafeUrlError ? refuse(error.message.replace(/\.$/, '')) : error;
    }
    return text;
  };
  const { revocationEndpoint, signingAlgorithms } = server;
  return {
    resource: credential.resource,
    account,
    generation: 1,
    server: {
      issuer: endpoint(server.issuer, 'issuer'),
      tokenEndpoint: endpoint(server.tokenEndpoint, 'token endpoint'),
      revocationEndpoint: revocationEndpoint && endpoint(revocationEndpoint, 'revocation endpoint'),
      reach,
      signingAlgorithms: signingAlgorithms?.slice(0, LONGEST_LIST).filter((name) => ALGORITHM.test(name)),
    },
    resourceParameter: resourceParameterOf(credential, resource, refuse),
    client: await acceptedClient(credential.client, signingAlgorithms, refuse),
    dpopKey: await dpopKeyOf(credential, refuse),
    // They only record what the login needed and relax no check: config.json sets the leniencies of this machine.
    leniencies: knownLeniencies(credential),
    tokens: acceptedTokens(credential.tokens, now, refuse),
    requestedScope: scopeOf(credential.requestedScope),
    grantedScope: scopeOf(credential.grantedScope),
    loggedInAt: now,
  };
}

/** Quotes no text that is not a URL: in a file with mixed-up members it may be a token. */
function resourceOf({ resource, account }: Credential, refuse: Acceptance['refuse']): URL {
  if (!isAccount(account)) throw refuse('its account is not 1 to 128 printable characters');
  const canonical = canonicalOrNone(resource);
  if (canonical === undefined) throw refuse('its resource is not the URL of an MCP server');
  if (canonical !== resource) throw refuse('its resource is not written as it should be');
  if (!RESOURCE_TEXT.test(resource)) throw refuse('its resource is too long');
  return new URL(resource);
}

function isAccount(account: string): boolean {
  try {
    return accountLabel(account) === account;
  } catch {
    return false;
  }
}

function canonicalOrNone(resource: string): string | undefined {
  try {
    return canonicalResource(resource);
  } catch {
    return undefined;
  }
}

/** Accepts the published string (RFC 8707) only for the server's own origin, because it is sent unchanged. */
function resourceParameterOf(
  { resourceParameter: text }: Credential,
  resource: URL,
  refuse: Acceptance['refuse'],
): string | undefined {
  if (text === undefined) return undefined;
  const isOwn = RESOURCE_TEXT.test(text) && URL.canParse(text) && new URL(text).origin === resource.origin;
  if (!isOwn) throw refuse(`its resource parameter ${quote(text)} is of another server`);
  return text;
}

async function acceptedClient(
  client: ClientRegistration,
  algorithms: readonly string[] | undefined,
  refuse: Acceptance['refuse'],
): Promise<ClientRegistration> {
  const { clientId, clientSecret, clientSecretExpiresAt, privateKey, keyId, authMethod, source } = client;
  if (!isClientId(clientId)) throw refuse('its client id can be none');
  if (clientSecret !== undefined && !isSecretText(clientSecret)) {
    throw refuse('its client secret can be none');
  }
  if (authMethod.startsWith('client_secret') && clientSecret === undefined) {
    throw refuse('its client needs a secret and has none');
  }
  if (keyId !== undefined && !isClientId(keyId)) throw refuse('the id of its client’s key can be none');
  if ((privateKey === undefined) !== (authMethod !== 'private_key_jwt')) {
    throw refuse('its client has no key to prove itself with, or one too many');
  }
  if (privateKey !== undefined) {
    const { signingAlgorithmOf } = await import('../oauth/tokens/jwt.ts');
    checkKey(privateKey, () => signingAlgorithmOf(privateKey, algorithms), 'its client’s key', refuse);
  }
  return {
    clientId,
    clientSecret,
    clientSecretExpiresAt: clientSecretExpiresAt && Math.min(clientSecretExpiresAt, LAST_MOMENT),
    privateKey,
    keyId,
    authMethod,
    redirectUris: client.redirectUris
      .slice(0, LONGEST_LIST)
      .filter((uri) => URL_TEXT.test(uri) && URL.canParse(uri) && /^https?:$/.test(new URL(uri).protocol)),
    source,
  };
}

async function dpopKeyOf(
  { dpopKey, tokens }: Credential,
  refuse: Acceptance['refuse'],
): Promise<Secret | undefined> {
  if (dpopKey === undefined) {
    if (knownTokenType(tokens.tokenType) === 'DPoP') {
      throw refuse('its tokens are bound to a key that is not in it');
    }
    return undefined;
  }
  const { dpopThumbprint } = await import('../oauth/tokens/dpop.ts');
  checkKey(dpopKey, () => dpopThumbprint(dpopKey), 'the key that its tokens are bound to', refuse);
  return dpopKey;
}

function checkKey(key: Secret, use: () => unknown, what: string, refuse: Acceptance['refuse']): void {
  if (key.reveal().length > LONGEST_SECRET) throw refuse(`${what} is too long`);
  try {
    use();
  } catch (error) {
    throw error instanceof InvalidArgumentError ? refuse(`${what} cannot be used`) : error;
  }
}

function acceptedTokens(tokens: Tokens, now: number, refuse: Acceptance['refuse']): Tokens {
  const { accessToken, refreshToken } = tokens;
  const tokenType = knownTokenType(tokens.tokenType);
  if (tokenType === undefined) throw refuse(`its token is of ${namedType(tokens.tokenType)}`);
  if (!isToken(accessToken.reveal())) throw refuse('its access token can be no token');
  if (refreshToken !== undefined && !isToken(refreshToken.reveal())) {
    throw refuse('its refresh token can be no token');
  }
  const expiresAt = tokens.expiresAt && Math.min(tokens.expiresAt, now + LONGEST_TOKEN_LIFE_S * 1000);
  return {
    accessToken,
    tokenType,
    refreshToken,
    // Neither in the future nor after expiry: either would look like a wrong clock. Drop the boot time: it is another
    // machine's.
    obtainedAt: Math.max(0, Math.min(tokens.obtainedAt, now, expiresAt ?? now)),
    expiresAt,
  };
}

function knownLeniencies({ leniencies }: Credential): readonly string[] | undefined {
  const known = LENIENCIES.filter((name) => leniencies?.includes(name));
  return known.length === 0 ? undefined : known;
}

function scopeOf(list: string | undefined): string | undefined {
  return list === undefined ? undefined : scopesIn(list).join(' ');
}

/** Holdfast sends the secret encoded, so any text is safe; but no server issues a secret that cannot be typed. */
function isSecretText(secret: Secret): boolean {
  return secret.reveal().length <= LONGEST_SECRET && isPrintable(secret.reveal());
}

/** Shows only a short word: the value may be anything, even a token in the wrong member. */
function namedType(type: string): string {
  return /^[\w-]{1,16}$/.test(type) ? `type ${quote(type)}` : 'no known type';
}
