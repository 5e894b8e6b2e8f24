import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { clientMetadataDocument } from '../../src/oauth/registration/client-metadata.ts';

describe('the published client metadata document', () => {
  test('the document is the one this version logs in with, and names its own URL', async () => {
    const text = await readFile(new URL('../../docs/client-metadata.json', import.meta.url), 'utf8');
    const document = JSON.parse(text) as { client_id: string; redirect_uris: string[] };
    expect(document).toEqual(clientMetadataDocument(document.client_id));
    expect(document.client_id).toMatch(/^https:\/\/[^/]+\/.+/);
  });
});
