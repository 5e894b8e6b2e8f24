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
  test('that was not needed is not counted', async () => {
    const at = await publishing(() => ({}));
    const lenient = {
      trustedIssuer: 'https://other.example',
      pkceNotAdvertised: true,
      legacyEndpoints: true,
    };
    expect(names(await found(at, lenient))).toEqual([]);
  });

  describe('for a trusted issuer', () => {
    const OTHER = 'https://login.example/{tenant}/v2.0';

    test('takes the metadata that names it, and it only', async () => {
      const at = await publishing(() => ({ issuer: OTHER }));
      const discovery = await found(at, { trustedIssuer: OTHER });
      expect(discovery.server.issuer).toBe(OTHER);
      expect(names(discovery)).toEqual(['trusted-issuer']);
      expect(discovery.leniencies[0]?.message).toContain(OTHER);
    });

    test.each([`${OTHER}/`, OTHER.toUpperCase(), 'https://login.example'])(
      'is compared as a string: %s is another one',
      async (trustedIssuer) => {
        const at = await publishing(() => ({ issuer: OTHER }));
        await expect(found(at, { trustedIssuer })).rejects.toBeInstanceOf(IssuerMismatchError);
      },
    );

    test('is offered by the error, ready to paste', async () => {
      const at = await publishing(() => ({ issuer: OTHER }));
      await expect(found(at, {})).rejects.toThrowError(
        expect.objectContaining({ hint: expect.stringContaining(`--trusted-issuer '${OTHER}'`) }),
      );
    });
  });

  describe('for PKCE that is not advertised', () => {
    test('takes metadata that is silent', async () => {
      const at = await publishing(() => ({ code_challenge_methods_supported: undefined }));
      expect(names(await found(at, { pkceNotAdvertised: true }))).toEqual(['pkce-not-advertised']);
    });

    test.each([{ methods: ['plain'] }, { methods: [] }])(
      'takes none that says $methods',
      async ({ methods }) => {
        const at = await publishing(() => ({ code_challenge_methods_supported: methods }));
        await expect(found(at, { pkceNotAdvertised: true })).rejects.toBeInstanceOf(ServerUnsupportedError);
      },
    );
  });

  describe('for a metadata URL', () => {
    test('reads that document and no other', async () => {
      const at = await publishing(() => ({}));
      at.routes['/elsewhere.json'] = metadata(at.origin);
      at.routes[OAUTH] = answer(500);
      const discovery = await found(at, { metadataUrl: `${at.origin}/elsewhere.json` });
      expect(discovery.server.issuer).toBe(at.origin);
      expect(names(discovery)).toEqual(['metadata-url']);
    });

    test('takes the issuer that its own place stands for', async () => {
      const at = await publishing(() => ({}));
      const tenant = `${at.origin}/tenant`;
      at.routes[`${OAUTH}/tenant`] = metadata(tenant);
      const discovery = await found(at, { metadataUrl: `${at.origin}${OAUTH}/tenant` });
      expect(discovery.server.issuer).toBe(tenant);
    });

    test('takes no other issuer', async () => {
      const at = await publishing(() => ({}));
      at.routes['/elsewhere.json'] = metadata('https://other.example');
      await expect(found(at, { metadataUrl: `${at.origin}/elsewhere.json` })).rejects.toBeInstanceOf(
        IssuerMismatchError,
      );
    });

    test('says so where there is no document', async () => {
      const at = await publishing(() => ({}));
      await expect(found(at, { metadataUrl: `${at.origin}/nowhere.json` })).rejects.toBeInstanceOf(
        InvalidResponseError,
      );
    });
  });

  test('for a resource that is left out sends none', async () => {
    const at = await publishing(() => ({}));
    const discovery = await found(at, { resourceOmitted: true });
    expect(discovery.resourceParameter).toBeUndefined();
    expect(names(discovery)).toEqual(['resource-omitted']);
  });

  describe('for legacy endpoints', () => {
    test('takes those of MCP 2025-03-26 where nothing is published', async () => {
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

    test('takes none beside metadata that is there and wrong', async () => {
      const at = await publishing(() => ({ token_endpoint: undefined }));
      await expect(found(at, { legacyEndpoints: true })).rejects.toBeInstanceOf(InvalidResponseError);
    });
  });
});
