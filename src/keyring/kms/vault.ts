import {
  InvalidArgumentError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
} from '../../errors.ts';
import { quote } from '../../quote.ts';
import { Secret } from '../../secret.ts';
import type { Environment } from '../../system/environment.ts';
import { readGivenFile } from '../../system/files/given-file.ts';
import { readMountedSecret } from '../../system/files/mounted-secret.ts';
import { shellPath } from '../../system/files/storage-error.ts';
import { type Binding, checkedEndpoint, checkParameters, invalid, type Kms } from './kms.ts';
import { bytesOf, type KmsAnswer, objectOf, postJson, refusalOf } from './request.ts';

/*
 * The transit engine of HashiCorp Vault, and of OpenBao, over its HTTP API
 * (https://developer.hashicorp.com/vault/api-docs/secret/transit).
 */

const PARAMETERS = ['role', 'jwt-file', 'auth', 'namespace'];
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount/token';
const MAX_TOKEN_BYTES = 64 * 1024;
const MAX_AUTHORITY_BYTES = 1024 * 1024;

/** Settings from the URL and the environment, under the variable names and paths of Vault itself. */
interface Settings {
  readonly base: URL;
  readonly mount: string;
  readonly key: string;
  readonly namespace: string | undefined;
  readonly authority: string | undefined;
  readonly access: Access;
}

/** The source of the token. A role comes first, then VAULT_TOKEN, then VAULT_TOKEN_FILE. */
type Access =
  | { readonly token: Secret }
  | { readonly tokenFile: string }
  | { readonly role: string; readonly jwtFile: string; readonly auth: string };

/** @throws InvalidArgumentError; KeyringDeniedError when no setting gives this process an identity at Vault */
export function openVaultKms(url: URL, environment: Environment): Kms {
  return new VaultKms(settingsOf(url, environment), environment);
}

function settingsOf(url: URL, { variables }: Environment): Settings {
  checkParameters(url, PARAMETERS);
  const [, mount, key] = /^\/(.+)\/keys\/([\w.-]+)$/.exec(url.pathname) ?? [];
  if (mount === undefined || key === undefined || !/^[\w./-]+$/.test(mount)) {
    throw invalid(`HOLDFAST_SEALING_KMS names no key of a transit engine: ${quote(url.pathname)}.`);
  }
  const { VAULT_TOKEN, VAULT_TOKEN_FILE, VAULT_NAMESPACE, VAULT_CACERT } = variables;
  const role = url.searchParams.get('role');
  const access = role
    ? {
        role,
        jwtFile: url.searchParams.get('jwt-file') ?? SERVICE_ACCOUNT,
        auth: url.searchParams.get('auth') ?? 'kubernetes',
      }
    : VAULT_TOKEN
      ? { token: new Secret(VAULT_TOKEN) }
      : VAULT_TOKEN_FILE
        ? { tokenFile: VAULT_TOKEN_FILE }
        : undefined;
  if (access === undefined) {
    throw new KeyringDeniedError('Nothing says who this process is to Vault.', {
      hint: 'Set VAULT_TOKEN or VAULT_TOKEN_FILE; in Kubernetes add ?role=ROLE to HOLDFAST_SEALING_KMS.',
    });
  }
  if ('auth' in access && access.auth !== undefined && !/^[\w-]+(\/[\w-]+)*$/.test(access.auth)) {
    throw new InvalidArgumentError(`HOLDFAST_SEALING_KMS names no auth method: ${quote(access.auth, 80)}.`, {
      hint: 'Write the path that it is mounted at, such as auth=kubernetes.',
    });
  }
  return {
    base: checkedEndpoint(`${url.protocol.slice('vault+'.length)}//${url.host}/`),
    mount,
    key,
    namespace: url.searchParams.get('namespace') ?? VAULT_NAMESPACE,
    authority: VAULT_CACERT,
    access,
  };
}

class VaultKms implements Kms {
  readonly name: string;
  readonly #settings: Settings;
  readonly #environment: Environment;
  /** The token from a login at Vault. */
  #session: { readonly token: Secret; readonly endsAt: number } | undefined;

  constructor(settings: Settings, environment: Environment) {
    this.#environment = environment;
    this.name = `Vault at ${quote(settings.base.host)}`;
    this.#settings = settings;
  }

  async wrap(secret: Uint8Array, binding: Binding): Promise<Uint8Array> {
    const data = await this.#transit('encrypt', { plaintext: base64(secret), ...bound(binding) });
    const { ciphertext } = data;
    if (typeof ciphertext === 'string' && /^vault:v\d+:[\w+/=]+$/.test(ciphertext))
      return Buffer.from(ciphertext, 'ascii');
    throw new KeyringBrokenError(`${this.name} answered without a ciphertext that can be read.`, {
      hint: 'Check that the address leads to Vault.',
    });
  }

  async unwrap(wrapped: Uint8Array, binding: Binding): Promise<Uint8Array> {
    const ciphertext = Buffer.from(wrapped).toString('latin1');
    const data = await this.#transit('decrypt', { ciphertext, ...bound(binding) });
    return bytesOf(data['plaintext'], this.name, 'plaintext');
  }

  close(): void {
    this.#session = undefined;
  }

  async #transit(step: 'encrypt' | 'decrypt', body: Readonly<Record<string, unknown>>) {
    const { mount, key } = this.#settings;
    const path = `v1/${mount}/${step}/${key}`;
    const session = this.#session;
    let answer = await this.#post(path, body, await this.#token());
    // Vault may end a session early. A second login distinguishes that from a refusal.
    if (answer.status === 403 && session !== undefined && session === this.#session) {
      this.#session = undefined;
      answer = await this.#post(path, body, await this.#token());
    }
    const data = objectOf(answer.json?.['data']);
    if (answer.status === 200 && data !== undefined) return data;
    throw this.#refusal(answer);
  }

  async #token(): Promise<Secret> {
    const { access } = this.#settings;
    if ('token' in access) return access.token;
    if ('tokenFile' in access) return readToken(access.tokenFile, 'VAULT_TOKEN_FILE', this.#environment);
    if (this.#session !== undefined && performance.now() < this.#session.endsAt) return this.#session.token;
    const { auth, role, jwtFile } = access;
    const jwt = await readToken(jwtFile, 'jwt-file', this.#environment);
    const answer = await this.#post(`v1/auth/${auth}/login`, { role, jwt: jwt.reveal() }, undefined);
    const given = objectOf(answer.json?.['auth']);
    const token = given?.['client_token'];
    if (answer.status !== 200 || typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
      throw this.#refusal(answer, 'the login');
    }
    const lease = given?.['lease_duration'];
    const seconds = typeof lease === 'number' && lease > 0 ? lease : 0;
    // Used for the first nine tenths of its lifetime, so that it does not expire during a request.
    this.#session = { token: new Secret(token), endsAt: performance.now() + seconds * 900 };
    return this.#session.token;
  }

  async #post(path: string, body: Readonly<Record<string, unknown>>, token: Secret | undefined) {
    const { base, namespace, authority } = this.#settings;
    return postJson(new URL(path, base), body, {
      headers: {
        'x-vault-request': 'true',
        ...(token && { 'x-vault-token': token.reveal() }),
        ...(namespace && { 'x-vault-namespace': namespace }),
      },
      authority: authority === undefined || authority === '' ? undefined : await readAuthority(authority),
    });
  }

  #refusal({ status, json }: KmsAnswer, what = ''): Error {
    const errors = json?.['errors'];
    const reason = Array.isArray(errors)
      ? errors.filter((one) => typeof one === 'string').join('; ')
      : undefined;
    const who = what === '' ? this.name : `At ${what}, ${this.name}`;
    if (status === 503 && reason?.includes('sealed')) {
      return new KeyringLockedError(`${this.name} is sealed.`, {
        hint: 'Whoever runs it must unseal it: vault operator unseal',
      });
    }
    // Vault reports this with status 400, as it does for any invalid request.
    if (status === 400 && reason?.includes('key not found')) {
      return new KeyringAbsentError(`${this.name} has no transit key ${quote(this.#settings.key)}.`, {
        hint: `Make it: vault write -f ${this.#settings.mount}/keys/${this.#settings.key}`,
      });
    }
    return refusalOf(status, who, reason);
  }
}

/** A derived key is derived from `context`; the ciphertext authenticates `associated_data`. */
function bound({ tenant, item }: Binding): { readonly context: string; readonly associated_data: string } {
  const text = base64(Buffer.from(JSON.stringify(['holdfast', tenant, item]), 'utf8'));
  return { context: text, associated_data: text };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

async function readToken(path: string, says: string, environment: Environment): Promise<Secret> {
  const bytes = await readMountedSecret(path, environment, { maxBytes: MAX_TOKEN_BYTES, says });
  const text = bytes?.toString('utf8').trim() ?? '';
  if (/^[\x21-\x7e]+$/.test(text)) return new Secret(text);
  const state = bytes === undefined ? 'is not there' : 'holds no token';
  // Not a refusal by Vault: while the file is missing, the cached key may serve.
  throw new KeyringBrokenError(`${says} names ${shellPath(path)}, which ${state}.`, {
    hint: 'Mount it there.',
  });
}

async function readAuthority(path: string): Promise<Buffer> {
  const bytes = await readGivenFile(path, { maxBytes: MAX_AUTHORITY_BYTES, says: 'VAULT_CACERT' });
  if (bytes !== undefined) return bytes;
  throw new InvalidArgumentError(`VAULT_CACERT names ${shellPath(path)}, which is not there.`, {
    hint: 'Mount the certificate there, or unset the variable.',
  });
}
