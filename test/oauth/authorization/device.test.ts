import { describe, expect, test } from 'vitest';
import type { ClientRegistration } from '../../../src/credential.ts';
import {
  InvalidResponseError,
  LoginCancelledError,
  LoginDeniedError,
  LoginTimeoutError,
  OAuthError,
  UnsafeUrlError,
} from '../../../src/errors.ts';
import {
  awaitDeviceTokens,
  type DeviceAuthorization,
  requestDeviceCode,
} from '../../../src/oauth/authorization/device.ts';
import { Secret } from '../../../src/secret.ts';
import { answer, type Handler, hostileServer, json } from '../../support/servers/hostile-server.ts';

const CLIENT: ClientRegistration = { clientId: 'c', authMethod: 'none', redirectUris: [], source: 'dynamic' };
const GOOD = {
  device_code: 'the-device-code',
  user_code: 'WDJB-MJHT',
  verification_uri: 'https://as.example/device',
  verification_uri_complete: 'https://as.example/device?user_code=WDJB-MJHT',
  expires_in: 1800,
  interval: 1,
};
const TOKENS = { access_token: 'the-token', token_type: 'Bearer', expires_in: 60 };

/** Requests a device code from a server that answers with the handler. */
async function codeFrom(handler: Handler) {
  const server = await hostileServer({ '/device': handler });
  const at = {
    issuer: server.origin,
    tokenEndpoint: `${server.origin}/token`,
    deviceAuthorizationEndpoint: `${server.origin}/device`,
  };
  const grant = { scope: 'read', resourceParameter: 'https://mcp.example/mcp' };
  return { device: await requestDeviceCode(at, CLIENT, grant), server };
}

/** Polls a token endpoint that sends these answers in order, then repeats the last one. */
async function poll(answers: readonly Handler[], changes: Partial<DeviceAuthorization> = {}, options = {}) {
  let asked = 0;
  const server = await hostileServer({
    '/token': (request, response) => {
      const next = answers[Math.min(asked, answers.length - 1)];
      asked += 1;
      return next?.(request, response);
    },
  });
  const device: DeviceAuthorization = {
    userCode: 'WDJB-MJHT',
    verificationUri: 'https://as.example/device',
    verificationUriComplete: undefined,
    deviceCode: new Secret('the-device-code'),
    lifeMs: 60_000,
    intervalMs: 1,
    ...changes,
  };
  const at = { issuer: server.origin, tokenEndpoint: `${server.origin}/token` };
  const grant = { resourceParameter: 'https://mcp.example/mcp' };
  const result = awaitDeviceTokens(at, CLIENT, device, grant, { timeoutMs: 60_000, ...options });
  return { result, server };
}

const PENDING = json({ error: 'authorization_pending' }, 400);

describe('a device code', () => {
  test('asks for a device code with scope and resource, and reads the answer', async () => {
    const { device, server } = await codeFrom(json(GOOD));
    expect(device).toMatchObject({
      userCode: 'WDJB-MJHT',
      verificationUri: 'https://as.example/device',
      verificationUriComplete: 'https://as.example/device?user_code=WDJB-MJHT',
      lifeMs: 1_800_000,
      intervalMs: 1000,
    });
    expect(Object.fromEntries(new URLSearchParams(server.log[0]?.body))).toEqual({
      client_id: 'c',
      scope: 'read',
      resource: 'https://mcp.example/mcp',
    });
    expect(JSON.stringify(device)).not.toContain('the-device-code');
  });

  test.each([
    [undefined, 5000],
    [0, 1000],
    [86_400, 60_000],
  ])('turns the polling interval %s into %i ms', async (interval, expected) => {
    expect((await codeFrom(json({ ...GOOD, interval }))).device.intervalMs).toBe(expected);
  });

  test.each([
    ['without a device code', { device_code: undefined }, InvalidResponseError],
    ['with a user code that moves the cursor', { user_code: '\u001b[2J' }, InvalidResponseError],
    ['with a user code that nobody can type', { user_code: 'x'.repeat(100) }, InvalidResponseError],
    ['with a sentence for a user code', { user_code: 'Call 1-800 now' }, InvalidResponseError],
    ['with a user code of many letters', { user_code: 'x'.repeat(21) }, InvalidResponseError],
    ['with a user code of letters that look alike', { user_code: 'АВС' }, InvalidResponseError],
    ['with a user code that begins with a blank', { user_code: ' AB' }, InvalidResponseError],
    [
      'with a page that a shell would act on',
      { verification_uri: 'https://as.example/$(id)' },
      UnsafeUrlError,
    ],
    ['that is good for no time', { expires_in: 0 }, InvalidResponseError],
    ['with a script to open', { verification_uri: 'javascript:alert(1)' }, UnsafeUrlError],
    ['with plain http to another host', { verification_uri: 'http://as.example/device' }, UnsafeUrlError],
    ['with a user name in the URL', { verification_uri: 'https://a@as.example/' }, UnsafeUrlError],
  ])('refuses a device authorization answer %s', async (_what, changes, type) => {
    await expect(codeFrom(json({ ...GOOD, ...changes }))).rejects.toBeInstanceOf(type);
  });

  test.each(['AB12', '123-456-789', '1234 5678', 'ABCDEFGH-IJKLMNOP'])(
    'accepts a user code such as %j',
    async (code) => {
      expect((await codeFrom(json({ ...GOOD, user_code: code }))).device.userCode).toBe(code);
    },
  );

  test.each([
    'https://elsewhere.example/device?user_code=WDJB-MJHT',
    'https://as.example:444/device',
    'https://as.example/$(id)`x`',
  ])('leaves out the link %j, which a QR code would hide', async (link) => {
    const { device } = await codeFrom(json({ ...GOOD, verification_uri_complete: link }));
    expect(device).toMatchObject({
      verificationUri: 'https://as.example/device',
      verificationUriComplete: undefined,
    });
  });

  test.each([
    'https://a:b@as.example/device',
    'http://as.example/device',
    'https://as.example/a b',
    'javascript:alert(1)',
    'tel:+1-900-555-0100',
    'device?c=1',
  ])('refuses a device code with the link %j for a QR code', async (link) => {
    await expect(codeFrom(json({ ...GOOD, verification_uri_complete: link }))).rejects.toBeInstanceOf(
      UnsafeUrlError,
    );
  });

  test('reports the error of a server that refuses a device code', async () => {
    await expect(codeFrom(json({ error: 'unauthorized_client' }, 400))).rejects.toMatchObject({
      code: 'oauth-error',
      error: 'unauthorized_client',
    });
    await expect(codeFrom(answer(404))).rejects.toBeInstanceOf(InvalidResponseError);
  });
});

describe('polling for device tokens', () => {
  test('polls until there are tokens, even after a 503', async () => {
    const { result, server } = await poll([PENDING, answer(503), PENDING, json(TOKENS)]);
    expect((await result).tokens.accessToken.reveal()).toBe('the-token');
    expect(server.requests).toHaveLength(4);
    expect(Object.fromEntries(new URLSearchParams(server.log[0]?.body))).toEqual({
      client_id: 'c',
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
      device_code: 'the-device-code',
      resource: 'https://mcp.example/mcp',
    });
  });

  test('times out when the next poll would come after the code expires', async () => {
    // RFC 8628 section 3.5: slow_down adds five seconds, more than the code has left.
    const { result, server } = await poll([json({ error: 'slow_down' }, 400)], { lifeMs: 4000 });
    await expect(result).rejects.toBeInstanceOf(LoginTimeoutError);
    expect(server.requests).toHaveLength(1);
  });

  test.each([
    ['access_denied', LoginDeniedError],
    ['expired_token', LoginTimeoutError],
    ['invalid_grant', OAuthError],
  ])('ends with the answer %s', async (error, type) => {
    const { result } = await poll([PENDING, json({ error }, 400)]);
    await expect(result).rejects.toBeInstanceOf(type);
  });

  test('recognizes access_denied whatever letters the device code holds', async () => {
    for (const code of ['d', 'access', 'access_denied', '_']) {
      const refusal = json({ error: 'access_denied', error_description: `Not ${code}.` }, 400);
      const { result } = await poll([refusal], { deviceCode: new Secret(code) });
      await expect(result).rejects.toBeInstanceOf(LoginDeniedError);
    }
    const { result } = await poll([json({ error: 'no-dc-4711' }, 400)], {
      deviceCode: new Secret('dc-4711'),
    });
    await expect(result).rejects.toMatchObject({ error: 'no-[secret]' });
  });

  test('ends when the caller aborts', async () => {
    const stop = new AbortController();
    const { result } = await poll([PENDING], { intervalMs: 60_000 / 2 }, { signal: stop.signal });
    stop.abort();
    await expect(result).rejects.toBeInstanceOf(LoginCancelledError);
  });
});
