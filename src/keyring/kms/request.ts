import { request as overHttp } from 'node:http';
import { request as overTls } from 'node:https';
import { KeyringAbsentError, KeyringBrokenError, KeyringDeniedError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { KMS_TIMEOUT_MS } from './kms.ts';

/*
 * One JSON request to a KMS and its answer, limited in size and time. It follows no redirect, because the request
 * carries a credential and keys.
 *
 * It does not use the client of src/http/, on purpose. That client goes through the environment's proxy and trusts the
 * program's certificates. A KMS has the address that the operator gave; it is called directly, with its own certificate
 * authority (VAULT_CACERT). Both features would be options in the path of every token.
 */

const MAX_ANSWER_BYTES = 256 * 1024;

export interface KmsAnswer {
  readonly status: number;
  /** `undefined` if the body is not a JSON object. */
  readonly json: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Sends a JSON body and reads the JSON answer.
 *
 * @param how.authority certificates to trust instead of the system's, in PEM
 * @throws KeyringBrokenError when the KMS does not answer, or the answer exceeds the limit
 */
export function postJson(
  url: URL,
  body: Readonly<Record<string, unknown>>,
  how: {
    readonly headers?: Readonly<Record<string, string>>;
    readonly authority?: Buffer | undefined;
    /** Only tests shorten it. In milliseconds. */
    readonly timeoutMs?: number | undefined;
  } = {},
): Promise<KmsAnswer> {
  const { headers = {}, authority, timeoutMs = KMS_TIMEOUT_MS } = how;
  const text = Buffer.from(JSON.stringify(body), 'utf8');
  return new Promise((resolve, reject) => {
    const start = url.protocol === 'https:' ? overTls : overHttp;
    const outgoing = start(url, {
      method: 'POST',
      agent: false,
      // Ignores NODE_TLS_REJECT_UNAUTHORIZED: the request carries keys and a credential.
      rejectUnauthorized: true,
      headers: { ...headers, 'content-type': 'application/json', 'content-length': text.byteLength },
      ...(authority && { ca: authority }),
    });
    const fail = (why: string, cause?: unknown) => {
      clearTimeout(timer);
      outgoing.destroy();
      reject(
        new KeyringBrokenError(`The KMS at ${quote(url.host)} ${why}.`, {
          cause,
          hint: 'Check its address, the network, and that it runs; then try again.',
        }),
      );
    };
    const timer = setTimeout(() => fail(`did not answer within ${timeoutMs / 1000} s`), timeoutMs);
    outgoing.on('error', (error: NodeJS.ErrnoException) =>
      fail(`cannot be reached (${error.code ?? 'no reason given'})`, error),
    );
    outgoing.on('response', (incoming) => {
      const chunks: Buffer[] = [];
      let size = 0;
      incoming.on('error', (error) => fail('broke off its answer', error));
      incoming.on('data', (chunk: Buffer) => {
        size += chunk.byteLength;
        if (size > MAX_ANSWER_BYTES) fail('answered without end');
        else chunks.push(chunk);
      });
      incoming.on('end', () => {
        clearTimeout(timer);
        outgoing.destroy();
        resolve({ status: incoming.statusCode ?? 0, json: jsonObject(Buffer.concat(chunks)) });
      });
    });
    outgoing.end(text);
  });
}

/** Makes the error for an unsuccessful answer, the same for every KMS that uses HTTP. */
export function refusalOf(status: number, kms: string, reason: string | undefined): Error {
  const said = reason === undefined || reason === '' ? '' : `: ${quote(reason)}`;
  const answered = `${kms} answered with status ${status}${said}.`;
  if (status === 401 || status === 403) {
    return new KeyringDeniedError(answered, {
      hint: 'Check who this process is to the KMS, and that it may encrypt and decrypt with that key.',
    });
  }
  if (status === 404) {
    return new KeyringAbsentError(answered, { hint: 'Check the key’s name in HOLDFAST_SEALING_KMS.' });
  }
  return new KeyringBrokenError(answered, {
    hint:
      status === 429 || status >= 500
        ? 'The KMS is in trouble, or asked too often. Try again in a moment.'
        : 'If it says that the ciphertext is invalid: what is kept was wrapped under another key, or for another tenant.',
  });
}

/** @throws KeyringBrokenError when the field is missing or is not base64 */
export function bytesOf(value: unknown, kms: string, field: string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'base64') : Buffer.alloc(0);
  if (bytes.length > 0 && bytes.toString('base64') === value) return bytes;
  throw new KeyringBrokenError(`${kms} answered without a ${field} that can be read.`, {
    hint: 'Check that the address leads to the KMS.',
  });
}

export function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function jsonObject(bytes: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    return objectOf(JSON.parse(bytes.toString('utf8')));
  } catch {
    return undefined;
  }
}
