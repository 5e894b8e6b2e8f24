import { describe, expect, test } from 'vitest';
import { withoutSecrets } from '../../src/system/processes/secret-variables.ts';

describe('the environment of a program that is not Holdfast', () => {
  test('contains nothing that opens the store or authenticates the client', () => {
    const variables = {
      PATH: '/usr/bin',
      HOLDFAST_HOME: '/home',
      HOLDFAST_PASSPHRASE: 'secret',
      HOLDFAST_SEALING_KEY: 'secret',
      HOLDFAST_CLIENT_SECRET: 'secret',
      HOLDFAST_CLIENT_KEY: 'secret',
    };
    expect(withoutSecrets(variables)).toEqual({ PATH: '/usr/bin', HOLDFAST_HOME: '/home' });
  });

  test.each([
    ['postgres://ann:secret@db/logins?tenant=a', 'postgres://ann@db/logins?tenant=a'],
    ['rediss://:secret@cache:6379/0', 'rediss://cache:6379/0'],
    ['postgres://ann@db/logins', 'postgres://ann@db/logins'],
    ['postgres://ann:se/cret@db/x', undefined],
    ['docker-agent', 'docker-agent'],
  ])('names the store %s as %s', (store, shown) => {
    expect(withoutSecrets({ HOLDFAST_STORE: store })).toEqual({ HOLDFAST_STORE: shown });
  });

  test.each([
    ['PGPASSWORD', { HOLDFAST_STORE: 'postgres://db/x' }],
    ['REDISCLI_AUTH', { HOLDFAST_STORE: 'redis://cache' }],
    ['VAULT_TOKEN', { HOLDFAST_SEALING_KMS: 'vault+https://vault:8200/transit/keys/k' }],
  ])('contains %s only if Holdfast does not open its own store with it', (secret, ours) => {
    expect(withoutSecrets({ ...ours, [secret]: 'secret' })).toEqual(ours);
    expect(withoutSecrets({ [secret]: 'theirs' })).toEqual({ [secret]: 'theirs' });
  });
});
