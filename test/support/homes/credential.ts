import type { Credential } from '../../../src/credential.ts';
import { Secret } from '../../../src/secret.ts';

/** A credential with every field set, as after a login, with an hour of life left. */
export function sampleCredential(resource: string, changes: Partial<Credential> = {}): Credential {
  const now = Date.now();
  return {
    resource,
    account: 'default',
    resourceParameter: resource,
    generation: 1,
    server: {
      issuer: 'https://as.example',
      tokenEndpoint: 'https://as.example/token',
      revocationEndpoint: 'https://as.example/revoke',
    },
    client: {
      clientId: 'a client',
      clientSecret: new Secret(`client-secret of ${resource}`),
      clientSecretExpiresAt: now + 86_400_000,
      authMethod: 'client_secret_basic',
      redirectUris: ['http://127.0.0.1:4321/callback'],
      source: 'dynamic',
    },
    tokens: {
      accessToken: new Secret(`access-token-of-${resource.replaceAll(' ', '-')}`),
      tokenType: 'Bearer',
      refreshToken: new Secret(`refresh-token-of-${resource.replaceAll(' ', '-')}`),
      obtainedAt: now,
      expiresAt: now + 3_600_000,
    },
    requestedScope: 'read write',
    grantedScope: 'read',
    loggedInAt: now,
    ...changes,
  };
}
