import type { AssertionSource } from '../../credential.ts';
import { InvalidArgumentError } from '../../errors.ts';
import type { ClientOptions, GrantOptions, LoginOptions } from '../../login/types.ts';
import type { Leniency } from '../../oauth/leniency.ts';
import { quote } from '../../quote.ts';
import { readSecret } from '../../system/files/secret-file.ts';
import { defined } from '../../values/defined.ts';
import type { Invocation } from '../command.ts';

/** The login options from the flags in `options/login.ts`; else from settings and environment. */
export async function loginAs(
  invocation: Invocation,
): Promise<Pick<LoginOptions, 'client' | 'clientMetadataUrl' | 'grant' | 'dpop' | 'lenient'>> {
  return defined({
    client: await preRegisteredClient(invocation),
    clientMetadataUrl: invocation.text('client-metadata-url'),
    grant: await grantOf(invocation),
    dpop: invocation.flag('dpop') || undefined,
    lenient: leniencyOf(invocation),
  });
}

async function preRegisteredClient(invocation: Invocation): Promise<ClientOptions | undefined> {
  const id = invocation.text('client-id');
  const rest = ['client-secret-file', 'client-key-file', 'client-key-id', 'client-auth', 'client-issuer'];
  if (id === undefined) {
    const alone = rest.find((option) => invocation.text(option) !== undefined);
    if (alone === undefined) return undefined;
    throw new InvalidArgumentError(`--${alone} says something of a client, and no --client-id says which.`);
  }
  return defined({
    id,
    secret: await secretIn(invocation, 'client-secret-file', 'HOLDFAST_CLIENT_SECRET'),
    privateKey: await secretIn(invocation, 'client-key-file', 'HOLDFAST_CLIENT_KEY'),
    keyId: invocation.text('client-key-id'),
    authMethod: chosen(invocation, 'client-auth', [
      'none',
      'client_secret_basic',
      'client_secret_post',
      'private_key_jwt',
    ] as const),
    issuer: invocation.text('client-issuer'),
  });
}

async function grantOf(invocation: Invocation): Promise<GrantOptions | undefined> {
  const workload = sourceOf(invocation, 'workload-token');
  const idToken = sourceOf(invocation, 'id-token');
  const grants = [invocation.flag('client-credentials'), workload !== undefined, idToken !== undefined];
  if (grants.filter(Boolean).length > 1) {
    throw new InvalidArgumentError(
      'A login has one grant: --client-credentials, --workload-token-file or --id-token-file.',
    );
  }
  if (invocation.flag('client-credentials')) return { type: 'client_credentials' };
  if (workload !== undefined) return { type: 'workload-identity', assertion: workload };
  const [issuer, id] = [invocation.text('idp'), invocation.text('idp-client-id')];
  if (idToken === undefined) {
    if (issuer === undefined && id === undefined) return undefined;
    throw new InvalidArgumentError('An identity provider is named, and no ID token.', {
      hint: 'Name the file that holds it: --id-token-file FILE',
    });
  }
  if (issuer === undefined || id === undefined) {
    throw new InvalidArgumentError('An ID token needs --idp and --idp-client-id as well.');
  }
  return {
    type: 'enterprise',
    assertion: idToken,
    identityProvider: { issuer },
    identityClient: defined({ id, secret: await secretIn(invocation, 'idp-client-secret-file') }),
  };
}

function sourceOf(invocation: Invocation, what: string): AssertionSource | undefined {
  const [file, variable] = [invocation.text(`${what}-file`), invocation.text(`${what}-env`)];
  return file === undefined && variable === undefined ? undefined : { file, variable };
}

function leniencyOf(invocation: Invocation): Leniency {
  const names =
    invocation
      .text('lenient')
      ?.split(/[\s,]+/)
      .filter(Boolean) ?? [];
  const known: Readonly<Record<string, keyof Leniency>> = {
    'pkce-not-advertised': 'pkceNotAdvertised',
    'resource-omitted': 'resourceOmitted',
    'legacy-endpoints': 'legacyEndpoints',
    'private-addresses': 'privateAddresses',
    'split-endpoints': 'splitEndpoints',
    'other-local-users': 'otherLocalUsers',
  };
  const allowed = names.map((name) => {
    const leniency = Object.hasOwn(known, name) ? known[name] : undefined;
    if (leniency !== undefined) return [leniency, true] as const;
    throw new InvalidArgumentError(`--lenient knows no ${quote(name, 40)}.`, {
      hint: `It takes: ${Object.keys(known).join(', ')}`,
    });
  });
  const [trustedIssuer, metadataUrl] = [invocation.text('trusted-issuer'), invocation.text('metadata-url')];
  return {
    ...Object.fromEntries(allowed),
    ...(trustedIssuer === undefined ? {} : { trustedIssuer }),
    ...(metadataUrl === undefined ? {} : { metadataUrl }),
  };
}

/** Reads a secret from a file or a variable. Every process can read values on a command line. */
async function secretIn(invocation: Invocation, option: string, variable?: string) {
  const { environment } = invocation;
  const file = invocation.text(option);
  if (file !== undefined) return readSecret({ file, says: `--${option}` }, environment);
  return variable !== undefined && environment.variables[variable]
    ? readSecret({ variable }, environment)
    : undefined;
}

function chosen<T extends string>(
  invocation: Invocation,
  option: string,
  choices: readonly T[],
): T | undefined {
  const value = invocation.text(option);
  if (value === undefined) return undefined;
  const found = choices.find((choice) => choice === value);
  if (found !== undefined) return found;
  throw new InvalidArgumentError(`--${option} knows no ${quote(value, 40)}.`, {
    hint: `It takes: ${choices.join(', ')}`,
  });
}
