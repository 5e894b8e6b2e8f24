import type { GoogleAuth } from 'google-auth-library';
import { KeyringBrokenError, KeyringDeniedError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { type Binding, checkedEndpoint, checkParameters, invalid, KMS_TIMEOUT_MS, type Kms } from './kms.ts';
import { optionalPackage } from './optional-package.ts';
import { bytesOf, objectOf, postJson, refusalOf } from './request.ts';

/*
 * Google Cloud KMS over its REST API (https://cloud.google.com/kms/docs/reference/rest). Google's own library gets the
 * access token. The library finds the credentials of the process as every program on Google Cloud does.
 */

type Library = typeof import('google-auth-library');

const ENDPOINT = 'https://cloudkms.googleapis.com/';
const SCOPE = 'https://www.googleapis.com/auth/cloudkms';
const KEY = /^projects\/[\w.:-]+\/locations\/[\w-]+\/keyRings\/[\w-]+\/cryptoKeys\/[\w-]+$/;

/** @throws InvalidArgumentError; KeyringAbsentError when the library is not installed */
export async function openGcpKms(
  url: URL,
  load: () => Promise<Library> = () => import('google-auth-library'),
): Promise<Kms> {
  checkParameters(url, ['endpoint']);
  // In Google's own notation, the first part of the name is in the host position of the URL.
  const key = `${url.host}${url.pathname}`.replace(/^\//, '');
  if (!KEY.test(key)) throw invalid(`HOLDFAST_SEALING_KMS names no key of Google Cloud KMS: ${quote(key)}.`);
  const endpoint = checkedEndpoint(url.searchParams.get('endpoint') ?? ENDPOINT);
  const library = await optionalPackage('google-auth-library', load);
  return new GcpKms(key, endpoint, new library.GoogleAuth({ scopes: [SCOPE] }));
}

class GcpKms implements Kms {
  readonly name = 'Google Cloud KMS';
  readonly #key: string;
  readonly #endpoint: URL;
  readonly #auth: GoogleAuth;

  constructor(key: string, endpoint: URL, auth: GoogleAuth) {
    this.#key = key;
    this.#endpoint = endpoint;
    this.#auth = auth;
  }

  async wrap(secret: Uint8Array, binding: Binding): Promise<Uint8Array> {
    const answer = await this.#ask('encrypt', { plaintext: base64(secret), ...bound(binding) });
    return bytesOf(answer['ciphertext'], this.name, 'ciphertext');
  }

  async unwrap(wrapped: Uint8Array, binding: Binding): Promise<Uint8Array> {
    const answer = await this.#ask('decrypt', { ciphertext: base64(wrapped), ...bound(binding) });
    return bytesOf(answer['plaintext'], this.name, 'plaintext');
  }

  close(): void {
    // No connection stays open.
  }

  async #ask(step: 'encrypt' | 'decrypt', body: Readonly<Record<string, unknown>>) {
    const token = await this.#token();
    const { status, json } = await postJson(new URL(`v1/${this.#key}:${step}`, this.#endpoint), body, {
      headers: { authorization: `Bearer ${token}` },
    });
    if (status === 200 && json !== undefined) return json;
    const message = objectOf(json?.['error'])?.['message'];
    throw refusalOf(status, this.name, typeof message === 'string' ? message : undefined);
  }

  async #token(): Promise<string> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(
        () => reject(Object.assign(new Error('It took too long.'), { code: 'ETIMEDOUT' })),
        KMS_TIMEOUT_MS,
      );
    });
    let token: string | null | undefined;
    let cause: unknown;
    try {
      token = await Promise.race([this.#auth.getAccessToken(), late]);
    } catch (error) {
      cause = error;
    } finally {
      clearTimeout(timer);
    }
    if (typeof token === 'string' && /^[\x21-\x7e]+$/.test(token)) return token;
    // The library's message may include content of a credential file, so no message shows it.
    const status = statusOf(cause);
    if (status !== undefined && status >= 400 && status < 500 && status !== 429) {
      throw new KeyringDeniedError(`Google Cloud refused this process an access token (status ${status}).`, {
        cause,
        hint: 'Check the service account that it runs with.',
      });
    }
    throw new KeyringBrokenError('This process got no access token of Google Cloud.', {
      cause,
      hint: 'Run it with a service account, or set GOOGLE_APPLICATION_CREDENTIALS; then check the network.',
    });
  }
}

/** The HTTP status that the library received, if it received one. */
function statusOf(error: unknown): number | undefined {
  const status = objectOf(error)?.['status'];
  return typeof status === 'number' ? status : undefined;
}

function bound({ tenant, item }: Binding): { readonly additionalAuthenticatedData: string } {
  const text = JSON.stringify(['holdfast', tenant, item]);
  return { additionalAuthenticatedData: base64(Buffer.from(text, 'utf8')) };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
