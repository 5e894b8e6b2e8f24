import * as v from 'valibot';
import type { ClientAuthMethod, ClientRegistration } from '../../credential.ts';
import {
  type HoldfastError,
  InvalidResponseError,
  OAuthError,
  ServerUnsupportedError,
} from '../../errors.ts';
import { type RequestOptions, send } from '../../http/request.ts';
import { isClientId } from '../../oauth-syntax.ts';
import { quote } from '../../quote.ts';
import { Secret } from '../../secret.ts';
import type { ServerMetadata } from '../discovery/server-metadata.ts';
import { type JsonObject, jsonObject } from '../json-object.ts';
import { checkServerUp, oauthError } from '../protocol-error.ts';
import { clientMetadata } from './client-metadata.ts';

/**
 * Authentication methods of a client that registers itself, the simplest first: a command line cannot keep a secret
 * from its user (RFC 8252 section 8.4).
 */
const AUTH_METHODS: readonly ClientAuthMethod[] = ['none', 'client_secret_post', 'client_secret_basic'];

const BY_HAND =
  'Register a client there by hand, as a native application, and name it: holdfast login URL --client-id ID (and --client-secret-file FILE, where it has a secret)';
const TELL = 'Tell who runs the server.';

/** RFC 7591 section 3.2.1. */
const Registered = v.object({
  client_id: v.pipe(v.string(), v.check(isClientId)),
  client_secret: v.optional(v.pipe(v.string(), v.maxLength(65_536)), ''),
  client_secret_expires_at: v.optional(v.unknown()),
  token_endpoint_auth_method: v.optional(v.string()),
  redirect_uris: v.optional(v.array(v.string()), []),
});

/**
 * Registers a client (RFC 7591), as a native application with refresh tokens.
 *
 * @param redirectUri the exact redirect URI; `undefined` for a client that logs in by device code
 * @throws ServerUnsupportedError when the server accepts no registrations, OAuthError when it refuses this one
 */
export async function registerClient(
  server: ServerMetadata,
  redirectUri: string | undefined,
  options: RequestOptions & { scope?: string | undefined } = {},
): Promise<ClientRegistration> {
  const { scope, ...limits } = options;
  if (server.registrationEndpoint === undefined) {
    throw new ServerUnsupportedError(`${quote(server.issuer)} takes no dynamic registrations (RFC 7591).`, {
      hint: BY_HAND,
    });
  }
  const asked = authMethod(server);
  const response = await send(server.registrationEndpoint, {
    ...limits,
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({
      ...clientMetadata(redirectUri === undefined ? [] : [redirectUri]),
      token_endpoint_auth_method: asked,
      ...(scope === undefined || scope === '' ? {} : { scope }),
    }),
  });
  const what = `The registration endpoint of ${quote(server.issuer)}`;
  checkServerUp(response, what);
  const answer = jsonObject(response.body);
  // RFC 7591 prescribes 201, but many servers answer 200.
  if (response.status < 200 || response.status > 299) {
    throw refusal(server.issuer, response.status, answer, redirectUri);
  }
  return read(answer, redirectUri, asked, what);
}

function read(
  answer: JsonObject,
  redirectUri: string | undefined,
  asked: ClientAuthMethod,
  what: string,
): ClientRegistration {
  if (answer.object === undefined) {
    throw new InvalidResponseError(`${what} answered something that is ${answer.problem}.`, { hint: TELL });
  }
  const parsed = v.safeParse(Registered, answer.object);
  if (!parsed.success) {
    const members = parsed.issues.map((issue) => v.getDotPath(issue) ?? 'the whole').slice(0, 3);
    throw new InvalidResponseError(`${what} answered no registration (wrong: ${members.join(', ')}).`, {
      hint: TELL,
    });
  }
  const client = parsed.output;
  // RFC 7591 section 3.2.1: the server may replace the requested values.
  const named = client.token_endpoint_auth_method ?? asked;
  const method = AUTH_METHODS.find((one) => one === named);
  if (method === undefined) {
    throw new InvalidResponseError(
      `${what} registered Holdfast with ${quote(named)}, a way to prove itself that it does not have.`,
      { hint: TELL },
    );
  }
  if (method !== 'none' && client.client_secret === '') {
    throw new InvalidResponseError(`${what} demands a client secret and gave none.`, { hint: TELL });
  }
  if (
    redirectUri !== undefined &&
    client.redirect_uris.length > 0 &&
    !client.redirect_uris.some((uri) => sameButPort(uri, redirectUri))
  ) {
    throw new InvalidResponseError(
      `${what} registered ${quote(client.redirect_uris.join(', '))} in place of ${quote(redirectUri)}.`,
      { hint: 'The browser would not come back to Holdfast. Tell who runs the server.' },
    );
  }
  const expiresAt = client.client_secret_expires_at;
  return {
    clientId: client.client_id,
    clientSecret: method === 'none' ? undefined : new Secret(client.client_secret),
    // In seconds; 0 means never (RFC 7591 section 3.2.1).
    clientSecretExpiresAt:
      method !== 'none' && typeof expiresAt === 'number' && expiresAt > 0
        ? Math.min(Math.round(expiresAt * 1000), Number.MAX_SAFE_INTEGER)
        : undefined,
    authMethod: method,
    redirectUris: redirectUri === undefined ? [] : [redirectUri],
    source: 'dynamic',
  };
}

/** Builds the error of a refused registration (RFC 7591 section 3.2.2), or of a non-standard response. */
function refusal(
  issuer: string,
  status: number,
  { object }: JsonObject,
  redirectUri: string | undefined,
): HoldfastError {
  const { error, error_description: description } = object ?? {};
  if (typeof error === 'string') {
    const said = oauthError(
      `${quote(issuer)} refused to register Holdfast: it`,
      error,
      typeof description === 'string' ? description : undefined,
    );
    const about =
      error === 'invalid_redirect_uri' && redirectUri !== undefined
        ? ` The redirect URI was ${quote(redirectUri)}.`
        : '';
    return new OAuthError(`${said.message}${about}`, {
      error: said.error,
      hint: 'Tell who runs the server, or ask them for a client that is registered by hand.',
    });
  }
  if (status === 401 || status === 403) {
    return new ServerUnsupportedError(
      `${quote(issuer)} lets only clients that it knows register (HTTP ${status}).`,
      { hint: BY_HAND },
    );
  }
  return new InvalidResponseError(
    `The registration endpoint of ${quote(issuer)} answered HTTP ${status} without saying why.`,
    { hint: TELL },
  );
}

/**
 * Compares redirect URIs without their ports. RFC 8252 section 7.3 allows any port, so a server may store the URI
 * without one.
 */
function sameButPort(uri: string, redirectUri: string): boolean {
  if (uri === redirectUri) return true;
  if (!URL.canParse(uri)) return false;
  const [theirs, ours] = [new URL(uri), new URL(redirectUri)];
  theirs.port = ours.port;
  return theirs.href === ours.href;
}

/** Metadata without a list means `client_secret_basic` (RFC 8414 section 2). */
function authMethod({ issuer, tokenEndpointAuthMethods }: ServerMetadata): ClientAuthMethod {
  const supported = tokenEndpointAuthMethods ?? ['client_secret_basic'];
  const method = AUTH_METHODS.find((one) => supported.includes(one));
  if (method !== undefined) return method;
  throw new ServerUnsupportedError(
    `${quote(issuer)} takes none of the ways in which Holdfast can prove itself: ${quote(supported.join(', '))}.`,
    { hint: TELL },
  );
}
