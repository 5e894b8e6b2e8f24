/** What opens the store, or proves the client: no program that we start has any use for it. */
const SECRETS = new Set([
  'HOLDFAST_PASSPHRASE',
  'HOLDFAST_SEALING_KEY',
  'HOLDFAST_CLIENT_SECRET',
  'HOLDFAST_CLIENT_KEY',
]);

/** Variables of other programs that open our store where another one of ours names such an engine, or such a KMS. */
const OPENS: readonly (readonly [secret: string, variable: string, named: RegExp])[] = [
  ['PGPASSWORD', 'HOLDFAST_STORE', /^postgres(ql)?:/],
  ['REDISCLI_AUTH', 'HOLDFAST_STORE', /^rediss?:/],
  ['VAULT_TOKEN', 'HOLDFAST_SEALING_KMS', /^vault\+/],
];

/** The environment for a program that is not Holdfast. */
export function withoutSecrets(
  variables: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const ours = OPENS.filter(([, variable, named]) => named.test(variables[variable] ?? ''));
  const left = new Set([...SECRETS, ...ours.map(([secret]) => secret)]);
  // Without a prototype: Node gives a child process what the object inherits, too.
  const kept = Object.create(null) as Record<string, string | undefined>;
  for (const [name, value] of Object.entries(variables)) if (!left.has(name)) kept[name] = value;
  const store = variables['HOLDFAST_STORE'];
  if (store !== undefined) kept['HOLDFAST_STORE'] = withoutPassword(store);
  return kept;
}

/** A Holdfast that such a program starts is refused by that store, then; it does not take another one for it. */
function withoutPassword(store: string): string | undefined {
  if (!store.includes('@')) return store;
  if (!URL.canParse(store)) return undefined;
  const url = new URL(store);
  url.password = '';
  return url.href;
}
