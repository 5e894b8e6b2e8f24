import { describe, expect, test } from 'vitest';
import { InvalidResponseError, IssuerMismatchError, ServerUnsupportedError } from '../../src/errors.ts';
import { discover } from '../../src/oauth/discovery/discovery.ts';
import type { Leniency } from '../../src/oauth/leniency.ts';
import { answer } from '../support/servers/hostile-server.ts';
import { metadata, OAUTH, publishing, RESOURCE, server } from '../support/servers/mcp-routes.ts';

function found(at: { origin: string }, lenient: Leniency) {
  return discover(`${at.origin}/mcp`, { lenient });
}

function names({ leniencies }: Awaited<ReturnType<typeof discover>>): string[] {
  return leniencies.map(({ name }) => name);
}

describe('a leniency', () => {
  test('does not report a leniency that was not needed', async () => {
    const at = await publishing(() => ({}));
    const lenient = {
      trustedIssuer: 'https://other.example',
      pkceNotAdvertised: true,
      legacyEndpoints: true,
    };
    expect(names(await found(at, lenient))).toEqual([]);
  });

  describe('trusted issuer', () => {
    const OTHER = 'https://login.example/{tenant}/v2.0';

    test('accepts metadata that names the trusted issuer', async () => {
      const at = await publishing(() => ({ issuer: OTHER }));
      const discovery = await found(at, { trustedIssuer: OTHER });
      expect(discovery.server.issuer).toBe(OTHER);
      expect(names(discovery)).toEqual(['trusted-issuer']);
      expect(discovery.leniencies[0]?.message).toContain(OTHER);
    });

    test.each([`${OTHER}/`, OTHER.toUpperCase(), 'https://login.example'])(
      'compares the trusted issuer as a string: %s differs',
      async (trustedIssuer) => {
        const at = await publishing(() => ({ issuer: OTHER }));
        await expect(found(at, { trustedIssuer })).rejects.toBeInstanceOf(IssuerMismatchError);
      },
    );

    test('offers --trusted-issuer in the error, ready to paste', async () => {
      const at = await publishing(() => ({ issuer: OTHER }));
      await expect(found(at, {})).rejects.toThrow(
        expect.objectContaining({ hint: expect.stringContaining(`--trusted-issuer '${OTHER}'`) }),
      );
    });
  });

  describe('PKCE not advertised', () => {
    test('accepts metadata without PKCE methods under the leniency', async () => {
      const at = await publishing(() => ({ code_challenge_methods_supported: undefined }));
      expect(names(await found(at, { pkceNotAdvertised: true }))).toEqual(['pkce-not-advertised']);
    });

    test.each([{ methods: ['plain'] }, { methods: [] }])(
      'refuses metadata with PKCE methods $methods despite the leniency',
      async ({ methods }) => {
        const at = await publishing(() => ({ code_challenge_methods_supported: methods }));
        await expect(found(at, { pkceNotAdvertised: true })).rejects.toBeInstanceOf(ServerUnsupportedError);
      },
    );
  });

  describe('metadata URL', () => {
    test('reads the document at the metadata URL and no other', async () => {
      const at = await publishing(() => ({}));
      at.routes['/elsewhere.json'] = metadata(at.origin);
      at.routes[OAUTH] = answer(500);
      const discovery = await found(at, { metadataUrl: `${at.origin}/elsewhere.json` });
      expect(discovery.server.issuer).toBe(at.origin);
      expect(names(discovery)).toEqual(['metadata-url']);
    });

    test('accepts the issuer whose well-known URL is the metadata URL', async () => {
      const at = await publishing(() => ({}));
      const tenant = `${at.origin}/tenant`;
      at.routes[`${OAUTH}/tenant`] = metadata(tenant);
      const discovery = await found(at, { metadataUrl: `${at.origin}${OAUTH}/tenant` });
      expect(discovery.server.issuer).toBe(tenant);
    });

    test('refuses another issuer in the document at the metadata URL', async () => {
      const at = await publishing(() => ({}));
      at.routes['/elsewhere.json'] = metadata('https://other.example');
      await expect(found(at, { metadataUrl: `${at.origin}/elsewhere.json` })).rejects.toBeInstanceOf(
        IssuerMismatchError,
      );
    });

    test('fails when there is no document at the metadata URL', async () => {
      const at = await publishing(() => ({}));
      await expect(found(at, { metadataUrl: `${at.origin}/nowhere.json` })).rejects.toBeInstanceOf(
        InvalidResponseError,
      );
    });
  });

  test('sends no resource parameter when told to leave it out', async () => {
    const at = await publishing(() => ({}));
    const discovery = await found(at, { resourceOmitted: true });
    expect(discovery.resourceParameter).toBeUndefined();
    expect(names(discovery)).toEqual(['resource-omitted']);
  });

  describe('legacy endpoints', () => {
    test('uses the endpoints of MCP 2025-03-26 when the server publishes nothing', async () => {
      const at = await server(() => ({ [`${RESOURCE}/mcp`]: answer(404), [OAUTH]: answer(404) }));
      const discovery = await found(at, { legacyEndpoints: true });
      expect(discovery.server).toMatchObject({
        issuer: at.origin,
        authorizationEndpoint: `${at.origin}/authorize`,
        tokenEndpoint: `${at.origin}/token`,
        registrationEndpoint: `${at.origin}/register`,
      });
      expect(names(discovery)).toEqual(['legacy-endpoints']);
    });

    test('does not use legacy endpoints when the published metadata is wrong', async () => {
      const at = await publishing(() => ({ token_endpoint: undefined }));
      await expect(found(at, { legacyEndpoints: true })).rejects.toBeInstanceOf(InvalidResponseError);
    });
  });
});
