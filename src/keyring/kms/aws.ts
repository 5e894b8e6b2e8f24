import type { KMSClient } from '@aws-sdk/client-kms';
import { HoldfastError, KeyringAbsentError, KeyringBrokenError, KeyringDeniedError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { type Binding, checkedEndpoint, checkParameters, invalid, KMS_TIMEOUT_MS, type Kms } from './kms.ts';
import { optionalPackage } from './optional-package.ts';

/*
 * AWS KMS, through Amazon's own client. The client finds the credentials of the process as every program on AWS does:
 * variables, a profile, the role of the pod or the machine.
 */

type Sdk = typeof import('@aws-sdk/client-kms');

const ABSENT = ['NotFoundException'];
const DENIED = [
  'AccessDeniedException',
  'DisabledException',
  'ExpiredTokenException',
  'InvalidSignatureException',
  'KMSInvalidStateException',
  'MissingAuthenticationTokenException',
  'UnrecognizedClientException',
];
const DAMAGED = ['IncorrectKeyException', 'InvalidCiphertextException'];

/** @throws InvalidArgumentError; KeyringAbsentError when the client is not installed */
export async function openAwsKms(
  url: URL,
  load: () => Promise<Sdk> = () => import('@aws-sdk/client-kms'),
): Promise<Kms> {
  checkParameters(url, ['region', 'endpoint']);
  const key = decodeURIComponent(url.pathname.replace(/^\//, ''));
  if (url.host !== '' || !/^[\w:/-]{1,2048}$/.test(key)) {
    throw invalid(`HOLDFAST_SEALING_KMS names no key of AWS KMS: ${quote(`${url.host}${url.pathname}`)}.`);
  }
  const endpoint = url.searchParams.get('endpoint');
  // A key's ARN includes its region.
  const region = url.searchParams.get('region') ?? /^arn:[\w-]+:kms:([\w-]+):/.exec(key)?.[1];
  const sdk = await optionalPackage('@aws-sdk/client-kms', load);
  const client = new sdk.KMSClient({
    ...(region && { region }),
    ...(endpoint && { endpoint: checkedEndpoint(endpoint).href }),
    maxAttempts: 2,
  });
  return new AwsKms(sdk, client, key);
}

class AwsKms implements Kms {
  readonly name = 'AWS KMS';
  readonly #sdk: Sdk;
  readonly #client: KMSClient;
  readonly #key: string;

  constructor(sdk: Sdk, client: KMSClient, key: string) {
    this.#sdk = sdk;
    this.#client = client;
    this.#key = key;
  }

  async wrap(secret: Uint8Array, binding: Binding): Promise<Uint8Array> {
    const command = new this.#sdk.EncryptCommand({
      KeyId: this.#key,
      Plaintext: secret,
      EncryptionContext: contextOf(binding),
    });
    const { CiphertextBlob } = await this.#within((abortSignal) =>
      this.#client.send(command, { abortSignal }),
    );
    return present(CiphertextBlob);
  }

  async unwrap(wrapped: Uint8Array, binding: Binding): Promise<Uint8Array> {
    const command = new this.#sdk.DecryptCommand({
      KeyId: this.#key,
      CiphertextBlob: wrapped,
      EncryptionContext: contextOf(binding),
    });
    const { Plaintext } = await this.#within((abortSignal) => this.#client.send(command, { abortSignal }));
    return present(Plaintext);
  }

  close(): void {
    this.#client.destroy();
  }

  async #within<T>(step: (signal: AbortSignal) => Promise<T>): Promise<T> {
    try {
      return await step(AbortSignal.timeout(KMS_TIMEOUT_MS));
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(cause: unknown): HoldfastError {
    const name = cause instanceof Error ? cause.name : 'unknown';
    const said = `AWS KMS, asked for the key ${quote(this.#key)}, answered ${quote(name, 60)}.`;
    if (ABSENT.includes(name)) {
      return new KeyringAbsentError(said, { cause, hint: 'Check the key’s name and its region.' });
    }
    if (DENIED.includes(name)) {
      return new KeyringDeniedError(said, {
        cause,
        hint: 'Check the credentials of this process, that the key is enabled, and that they allow kms:Encrypt and kms:Decrypt.',
      });
    }
    if (DAMAGED.includes(name)) {
      return new KeyringBrokenError(
        `${said} What is kept was wrapped under another key, or for another tenant.`,
        {
          cause,
          hint: 'Name the key that it was wrapped under.',
        },
      );
    }
    if (name === 'CredentialsProviderError') {
      // Not a refusal by the KMS: the source of credentials may be down for a while, and the cached key may serve.
      return new KeyringBrokenError('AWS gave this process no credentials.', {
        cause,
        hint: 'Run it with a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.',
      });
    }
    return new KeyringBrokenError(
      name === 'TimeoutError' || name === 'AbortError'
        ? `AWS KMS did not answer within ${KMS_TIMEOUT_MS / 1000} s.`
        : `AWS KMS, asked for the key ${quote(this.#key)}, failed with ${quote(name, 60)}.`,
      { cause, hint: 'Check the region, the network and the credentials, then try again.' },
    );
  }
}

/** The encryption context. Policies can check it, and CloudTrail shows it. */
function contextOf({ tenant, item }: Binding): Record<string, string> {
  return { 'holdfast:tenant': tenant, 'holdfast:item': item };
}

function present(bytes: Uint8Array | undefined): Uint8Array {
  if (bytes !== undefined && bytes.length > 0) return bytes;
  throw new KeyringBrokenError('AWS KMS answered with nothing.', { hint: 'Check the endpoint.' });
}
