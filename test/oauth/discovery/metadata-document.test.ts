import { describe, expect, test } from 'vitest';
import { InvalidResponseError, ResponseTooLargeError, TimeoutError } from '../../../src/errors.ts';
import { answer, hang, json, stream } from '../../support/servers/hostile-server.ts';
import { failure, OAUTH, publishing, RESOURCE, server } from '../../support/servers/mcp-routes.ts';

describe('a wrong metadata document', () => {
  const wrong: [string, ReturnType<typeof answer>, string][] = [
    ['not JSON', answer(200, 'hello'), 'not JSON'],
    ['cut off', answer(200, '{"resource":"'), 'not JSON'],
    ['empty', answer(200, ''), 'not JSON'],
    ['not UTF-8', answer(200, Buffer.from([0x7b, 0xff, 0x7d])), 'not JSON'],
    ['an array', json([{}]), 'not an object'],
    ['a string', json('x'), 'not an object'],
    ['a number', json(1), 'not an object'],
    ['null', json(null), 'not an object'],
    ['an object without members', json({}), 'wrong: '],
    ['nested without end', answer(200, '['.repeat(500_000) + ']'.repeat(500_000)), 'not an object'],
  ];
  describe.each([
    ['the resource', `${RESOURCE}/mcp`],
    ['the authorization server', OAUTH],
  ])('document of %s', (_whose, place) => {
    test.each(wrong)('refuses a document that is %s', async (_what, handler, message) => {
      const found = await server(() => ({ [place]: handler }));
      const error = await failure(found);
      expect(error).toBeInstanceOf(InvalidResponseError);
      expect(error.message).toContain(message);
      expect(error.message).toContain(place);
    });
  });

  test.each([
    [{ resource: 1 }, 'resource'],
    [{ resource: '' }, 'resource'],
    [{ resource: null }, 'resource'],
    [{ authorization_servers: 'https://as.example' }, 'authorization_servers'],
    [{ authorization_servers: [1] }, 'authorization_servers.0'],
    [{ authorization_servers: Array(101).fill('https://as.example') }, 'authorization_servers'],
    [{ scopes_supported: 'a b' }, 'scopes_supported'],
    [{ scopes_supported: [{}] }, 'scopes_supported.0'],
  ])('names the wrong member of the resource’s metadata: %j', async (member, name) => {
    const found = await server((origin) => ({
      [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: [origin], ...member },
    }));
    const error = await failure(found);
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect(error.message).toContain(`wrong: ${name})`);
  });

  test.each([
    [{ issuer: 7 }, 'issuer'],
    [{ issuer: undefined }, 'issuer'],
    [{ authorization_endpoint: {} }, 'authorization_endpoint'],
    [{ token_endpoint: ['https://as.example'] }, 'token_endpoint'],
    [{ registration_endpoint: false }, 'registration_endpoint'],
    [{ code_challenge_methods_supported: 'S256' }, 'code_challenge_methods_supported'],
    [
      { authorization_response_iss_parameter_supported: 'true' },
      'authorization_response_iss_parameter_supported',
    ],
  ])('names the wrong member of the authorization server’s metadata: %j', async (member, name) => {
    const error = await failure(await publishing(() => member));
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect(error.message).toContain(`wrong: ${name})`);
  });

  test('stops reading a document of 50 MB or without end', async () => {
    for (const limit of [50_000_000, Number.POSITIVE_INFINITY]) {
      const large = stream(Buffer.alloc(65_536, ' '), { limit });
      const found = await server(() => ({ [OAUTH]: large.handler }));
      expect(await failure(found)).toBeInstanceOf(ResponseTooLargeError);
      await large.closed;
    }
  });

  test('times out when a document trickles or never comes', async () => {
    const trickle = stream(' ', { everyMs: 20 });
    for (const handler of [trickle.handler, hang()]) {
      const found = await server(() => ({ [`${RESOURCE}/mcp`]: handler }));
      expect(await failure(found, { timeoutMs: 1000 })).toBeInstanceOf(TimeoutError);
    }
    await trickle.closed;
  });
});
