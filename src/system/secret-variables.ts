/** What opens the store, or proves the client: no program that we start has any use for it. */
const SECRETS = new Set([
  'HOLDFAST_PASSPHRASE',
  'HOLDFAST_SEALING_KEY',
  'HOLDFAST_CLIENT_SECRET',
  'HOLDFAST_CLIENT_KEY',
]);

/** The environment for a program that is not Holdfast. */
export function withoutSecrets(
  variables: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(variables).filter(([name]) => !SECRETS.has(name)));
}
