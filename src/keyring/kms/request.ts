import { request as overHttp } from 'node:http';
import { request as overTls } from 'node:https';
import { KeyringAbsentError, KeyringBrokenError, KeyringDeniedError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { KMS_TIMEOUT_MS } from './kms.ts';

/*
 * One JSON request to a KMS and its answer, bounded in size and in time. No redirect is followed: the request carries a
 * credential and keys.
 *
 * It is not the client of src/http/, on purpose: that one goes through the proxy of the environment and trusts the program's
 * certificates. A KMS is the address that the operator gave: asked directly, and with an authority of its own (VAULT_CACERT).
 * Both would be options in the path of every token.
 */

const MAX_ANSWER_BYTES = 256 * 1024;

export interface KmsAnswer {
  readonly status: number;
  /** `undefined` when it is no JSON object. */
  readonly json: Readonly<Record<string, unknown>> | undefined;
}

/**
 * @param how.authority certificates to trust in place of the system's, in PEM
 * @throws KeyringBrokenError when there is no answer, or one without end
 */
export function postJson(
  url: URL,
  body: Readonly<Record<string, unknown>>,
  how: {
    readonly headers?: Readonly<Record<string, string>>;
    readonly authority?: Buffer | undefined;
    /** For tests alone to shorten. */
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
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED says: keys and a credential go there.
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

/** The error for an answer that is no success, the same for every KMS that speaks HTTP. */
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

/** @throws KeyringBrokenError when the answer lacks it, or it is no base64 */
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
