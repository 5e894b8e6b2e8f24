import { describe, expect, test } from 'vitest';
import type { ClientRegistration } from '../../../src/credential.ts';
import { HoldfastError, InvalidResponseError } from '../../../src/errors.ts';
import {
  clientCredentials,
  exchangeForIdJag,
  jwtBearer,
  unverifiedJwt,
} from '../../../src/oauth/tokens/grants.ts';
import { Secret } from '../../../src/secret.ts';
import { secretsSeen } from '../../support/leaks.ts';
import {
  type Handler,
  type HostileServer,
  hostileServer,
  json,
} from '../../support/servers/hostile-server.ts';

const RESOURCE = 'https://MCP.example:443/mcp?x=1&y=a+b%20c';
const AUDIENCE = 'https://as.example/tenant/';
const GOOD = { access_token: 'ACCESS-given-and-secret', token_type: 'Bearer' };
const ID_JAG_TYPE = 'urn:ietf:params:oauth:token-type:id-jag';
const TARGET = { resourceParameter: RESOURCE, scope: 'read write' };
const NO_TARGET = { resourceParameter: undefined, scope: undefined };
const SECRET = 'CLIENT-secret';
const CLIENT: ClientRegistration = {
  clientId: 'a-client',
  clientSecret: new Secret(SECRET),
  authMethod: 'client_secret_post',
  redirectUris: [],
  source: 'pre-registered',
};

/** An unsigned compact JWT: the client does not check whether it is genuine. */
function jwt(header: object, claims: object = {}): string {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
  return `${encode(header)}.${encode(claims)}.c2lnbmF0dXJl`;
}

const ASSERTION = jwt({ alg: 'ES256' }, { sub: 'pod' });
const ID_JAG = jwt({ alg: 'ES256', typ: 'oauth-id-jag+jwt' });

async function endpoint(answer: Handler | object = GOOD) {
  const server = await hostileServer({ '/token': answer });
  return { server, at: { issuer: server.origin, tokenEndpoint: `${server.origin}/token` } };
}

/** Returns the form of the single request, without the client authentication. */
function form({ log }: HostileServer): Readonly<Record<string, string>> {
  expect(log).toHaveLength(1);
  const {
    client_id: id,
    client_secret: secret,
    ...rest
  } = Object.fromEntries(new URLSearchParams(log[0]?.body));
  expect({ id, proved: secret === SECRET }).toEqual({ id: 'a-client', proved: true });
  return rest;
}

async function exchange(answer: Handler | object, target = TARGET) {
  const { server, at } = await endpoint(answer);
  const idToken = new Secret(ASSERTION);
  return { server, result: exchangeForIdJag(at, CLIENT, { ...target, idToken, audience: AUDIENCE }) };
}

describe('client credentials', () => {
  test('sends the resource byte for byte, and the scope', async () => {
    const { server, at } = await endpoint();
    await clientCredentials(at, CLIENT, TARGET);
    expect(form(server)).toEqual({
      grant_type: 'client_credentials',
      resource: RESOURCE,
      scope: 'read write',
    });
  });

  test('sends neither resource nor scope when neither is given', async () => {
    const { server, at } = await endpoint();
    await clientCredentials(at, CLIENT, NO_TARGET);
    expect(form(server)).toEqual({ grant_type: 'client_credentials' });
  });

  test('yields no refresh token, even from a server that gives one', async () => {
    const { at } = await endpoint({ ...GOOD, refresh_token: 'REFRESH', expires_in: 60, scope: 'read' });
    const { tokens, scope } = await clientCredentials(at, CLIENT, TARGET);
    expect(tokens.refreshToken).toBeUndefined();
    expect(tokens.accessToken.reveal()).toBe(GOOD.access_token);
    expect(scope).toBe('read');
  });
});

describe('the JWT bearer grant', () => {
  test('sends the JWT as the assertion, with resource and scope', async () => {
    const { server, at } = await endpoint({ ...GOOD, refresh_token: 'REFRESH' });
    const { tokens } = await jwtBearer(at, CLIENT, { ...TARGET, assertion: new Secret(ASSERTION) });
    expect(form(server)).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: ASSERTION,
      resource: RESOURCE,
      scope: 'read write',
    });
    expect(tokens.refreshToken?.reveal()).toBe('REFRESH');
  });

  test('shows the JWT in no message, however the server words its refusal', async () => {
    const said = `${ASSERTION} and ${SECRET} are no good`;
    const { at } = await endpoint(json({ error: 'invalid_grant', error_description: said }, 400));
    const asked = jwtBearer(at, CLIENT, { ...TARGET, assertion: new Secret(ASSERTION) });
    const error: unknown = await asked.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'oauth-error', error: 'invalid_grant' });
    expect((error as HoldfastError).message).toContain('are no good');
    expect(secretsSeen(error, [ASSERTION, SECRET])).toBe(0);
  });
});

describe('exchanging an ID token for an ID-JAG', () => {
  const answered = (members: object = {}) => ({
    access_token: ID_JAG,
    issued_token_type: ID_JAG_TYPE,
    token_type: 'N_A',
    ...members,
  });

  test('sends both token types, the audience and the resource byte for byte', async () => {
    const { server, result } = await exchange(answered());
    expect((await result).reveal() === ID_JAG).toBe(true);
    expect(form(server)).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      requested_token_type: ID_JAG_TYPE,
      audience: AUDIENCE,
      resource: RESOURCE,
      scope: 'read write',
      subject_token: ASSERTION,
      subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
    });
  });

  test('leaves out resource and scope when there are none', async () => {
    const { server, result } = await exchange(answered(), NO_TARGET as unknown as typeof TARGET);
    await result;
    expect(Object.keys(form(server))).not.toContain('resource');
    expect(Object.keys(form(server))).not.toContain('scope');
  });

  test.each([
    ['N_A', answered()],
    ['n_a', answered({ token_type: 'n_a' })],
    ['Bearer', answered({ token_type: 'Bearer' })],
    ['whose JWT says application/', answered({ access_token: jwt({ typ: 'application/OAuth-ID-JAG+jwt' }) })],
  ])('accepts an answer of type %s', async (_what, answer) => {
    const { result } = await exchange(answer);
    expect(unverifiedJwt(await result)?.header['typ']).toMatch(/id-jag\+jwt$/i);
  });

  test.each([
    [
      'another issued_token_type',
      answered({ issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' }),
    ],
    ['no issued_token_type', answered({ issued_token_type: undefined })],
    ['another token_type', answered({ token_type: 'mac' })],
    ['no token', answered({ access_token: undefined })],
    ['an opaque token', answered({ access_token: 'ACCESS-given-and-secret' })],
    ['a JWT of another type', answered({ access_token: jwt({ typ: 'at+jwt' }) })],
    ['a JWT of a type that looks like it', answered({ access_token: jwt({ typ: 'x-oauth-id-jag+jwt' }) })],
    ['a JWT of no type', answered({ access_token: jwt({ alg: 'ES256' }) })],
    ['a JWT whose type is no text', answered({ access_token: jwt({ typ: ['oauth-id-jag+jwt'] }) })],
    ['a header that is no JSON', answered({ access_token: 'aaaa.bbbb.cccc' })],
    ['two parts', answered({ access_token: ID_JAG.split('.').slice(0, 2).join('.') })],
    ['four parts', answered({ access_token: `${ID_JAG}.more` })],
    ['a page', json('<html>')],
  ])('refuses %s, and shows nothing of it', async (_what, answer) => {
    const { result } = await exchange(answer);
    const error: unknown = await result.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect(secretsSeen(error, [ASSERTION, SECRET, ID_JAG, 'ACCESS-given-and-secret'])).toBe(0);
  });
});

describe('reading a JWT', () => {
  test('reads a JWT without verifying it', () => {
    const read = unverifiedJwt(new Secret(jwt({ alg: 'none' }, { aud: 'x' })));
    expect(read).toEqual({ header: { alg: 'none' }, claims: { aud: 'x' } });
  });

  test('reads only the header of an encrypted JWT', () => {
    const encrypted = `${jwt({ enc: 'A256GCM' }).split('.')[0]}.a.b.c.d`;
    expect(unverifiedJwt(new Secret(encrypted))).toEqual({ header: { enc: 'A256GCM' }, claims: {} });
  });

  test.each(['', 'opaque', 'a.b', '..', 'YQ.YQ.YQ', `${ASSERTION}\n`, `Bearer ${ASSERTION}`, '[].{}.x'])(
    'finds no JWT in %j',
    (text) => expect(unverifiedJwt(new Secret(text))).toBeUndefined(),
  );
});
