/** Variables that open the store or authenticate the client. No program that Holdfast starts needs them. */
const SECRETS = new Set([
  'HOLDFAST_PASSPHRASE',
  'HOLDFAST_SEALING_KEY',
  'HOLDFAST_CLIENT_SECRET',
  'HOLDFAST_CLIENT_KEY',
]);

/**
 * Variables of other programs that open Holdfast's store, if the named Holdfast variable selects such an engine or KMS.
 */
const OPENS: readonly (readonly [secret: string, variable: string, named: RegExp])[] = [
  ['PGPASSWORD', 'HOLDFAST_STORE', /^postgres(ql)?:/],
  ['REDISCLI_AUTH', 'HOLDFAST_STORE', /^rediss?:/],
  ['VAULT_TOKEN', 'HOLDFAST_SEALING_KMS', /^vault\+/],
];

/** Returns the environment for a program that is not Holdfast. */
export function withoutSecrets(
  variables: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const ours = OPENS.filter(([, variable, named]) => named.test(variables[variable] ?? ''));
  const left = new Set([...SECRETS, ...ours.map(([secret]) => secret)]);
  // Without a prototype, since Node also passes inherited properties to a child process.
  const kept = Object.create(null) as Record<string, string | undefined>;
  for (const [name, value] of Object.entries(variables)) if (!left.has(name)) kept[name] = value;
  const store = variables['HOLDFAST_STORE'];
  if (store !== undefined) kept['HOLDFAST_STORE'] = withoutPassword(store);
  return kept;
}

/**
 * Removes the password but keeps the URL. The store then refuses a Holdfast that such a program starts. Without the
 * URL, that Holdfast would use another store.
 */
function withoutPassword(store: string): string | undefined {
  if (!store.includes('@')) return store;
  if (!URL.canParse(store)) return undefined;
  const url = new URL(store);
  url.password = '';
  return url.href;
}
