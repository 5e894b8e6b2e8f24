import { describe, expect, test } from 'vitest';
import { LoginDeniedError, OAuthError } from '../../../src/errors.ts';
import { createAuthorizationRequest } from '../../../src/oauth/authorization/authorization.ts';
import { readPasted } from '../../../src/oauth/authorization/pasted-redirect.ts';
import { discoveryOf, metadataOf } from '../../support/servers/metadata.ts';

const ISSUER = 'https://as.example';
const REDIRECT = 'http://127.0.0.1:4000/callback';

async function request(issParameterSupported = false) {
  const discovery = discoveryOf(metadataOf(ISSUER, { issParameterSupported }));
  const client = { clientId: 'c', authMethod: 'none', redirectUris: [REDIRECT], source: 'dynamic' } as const;
  return createAuthorizationRequest(discovery, client, REDIRECT);
}

describe('text pasted after a login', () => {
  test.each([
    ['the whole address', (state: string) => `${REDIRECT}?code=the-code&state=${state}`],
    [
      'the address with the server’s name',
      (state: string) => `${REDIRECT}?code=the-code&state=${state}&iss=${encodeURIComponent(ISSUER)}`,
    ],
    [
      'the address of a redirector',
      (state: string) => `https://redirect.example/cb?code=the-code&state=${state}`,
    ],
    ['the address with a fragment', (state: string) => `${REDIRECT}?code=the-code&state=${state}#_=_`],
    ['the query', (state: string) => `?code=the-code&state=${state}`],
    ['the query without its mark', (state: string) => `state=${state}&code=the-code`],
    ['the code', () => 'the-code'],
    ['any of them with white space around', () => '  the-code\r\n'],
  ])('accepts %s', async (_what, text) => {
    const asked = await request();
    expect(readPasted(text(asked.state), asked)).toEqual({ code: 'the-code' });
  });

  test.each([
    ['nothing', '  ', 'Nothing was pasted'],
    ['another login’s address', `${REDIRECT}?code=a&state=other`, 'another state'],
    ['an address without a state', `${REDIRECT}?code=a`, 'another state'],
    ['white space in it', 'the address is http://…', 'white space'],
    ['100 KB', 'x'.repeat(100_000), 'far too long'],
    ['characters of no code', 'cödé', 'neither the address of a page nor a code'],
    ['an address that is none', 'http://[', 'neither the address of a page nor a code'],
    [
      'the address that was to be opened',
      'https://as.example/auth?response_type=code&state=x',
      'the address to open',
    ],
    ['an address with nothing in it', `${REDIRECT}#code=a`, 'holds no answer'],
  ])('asks again when the text is %s', async (_what, text, problem) => {
    expect(readPasted(text, await request())).toEqual({ problem: expect.stringContaining(problem) });
  });

  test('asks again when the address comes from another issuer, and does not show its error text', async () => {
    const asked = await request();
    const text = `${REDIRECT}?error=access_denied&error_description=call+0800&state=${asked.state}&iss=https://evil.example`;
    const read = readPasted(text, asked);
    expect(read).toEqual({ problem: expect.stringContaining('another issuer') });
    expect(JSON.stringify(read)).not.toContain('0800');
  });

  test('requires the whole address when the server promises to name its issuer in it', async () => {
    expect(readPasted('the-code', await request(true))).toEqual({
      problem: expect.stringContaining('whole address'),
    });
  });

  test.each([
    ['access_denied', LoginDeniedError],
    ['server_error', OAuthError],
  ])('ends the login on the error %s of this login', async (error, type) => {
    const asked = await request();
    expect(() => readPasted(`${REDIRECT}?error=${error}&state=${asked.state}`, asked)).toThrow(type);
  });
});
