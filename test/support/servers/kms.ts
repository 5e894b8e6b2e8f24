import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

/* Stand-ins for three key management services: real HTTP servers with real AES-256-GCM and the documented protocols. */

export interface KmsServer {
  readonly host: string;
  /** Its requests, in order, without secrets. */
  readonly asked: string[];
  /** Names of its keys. */
  readonly keys: Set<string>;
  /** The answer in place of working, while it is set. */
  fails:
    | { readonly status: number; readonly body?: unknown; readonly type?: string }
    | 'silence'
    | 'endless'
    | undefined;
  /** The only accepted bearer or Vault token. Without one, everybody is accepted. */
  token: string | undefined;
  stop(): Promise<void>;
}

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly json: Readonly<Record<string, string | undefined>>;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

type Handler = (asked: Asked, kms: KmsServer) => Answer;

async function startKms(handler: Handler, keys: readonly string[]): Promise<KmsServer> {
  const server = createServer((request, response) => void serve(request, response));
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  const kms: KmsServer = {
    host: `127.0.0.1:${port}`,
    asked: [],
    keys: new Set(keys),
    fails: undefined,
    token: undefined,
    stop: async () => {
      server.closeAllConnections();
      await new Promise<void>((closed) => server.close(() => closed()));
    },
  };
  onTestFinished(() => (server.listening ? kms.stop() : undefined));

  async function serve(request: IncomingMessage, response: ServerResponse) {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const path = request.url ?? '';
    kms.asked.push(
      `${request.method} ${path}${request.headers['x-amz-target'] ? ` ${String(request.headers['x-amz-target'])}` : ''}`,
    );
    if (kms.fails === 'silence') return;
    if (kms.fails === 'endless') {
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(64 * 1024, 'x')));
      };
      response.on('drain', more).on('error', () => {});
      more();
      return;
    }
    const json = text === '' ? {} : (JSON.parse(text) as Record<string, string>);
    const answer =
      kms.fails === undefined
        ? handler({ method: request.method ?? '', path, headers: request.headers, json }, kms)
        : { status: kms.fails.status, body: kms.fails.body ?? {} };
    response.writeHead(answer.status, {
      'content-type': path === '/' ? 'application/x-amz-json-1.1' : 'application/json',
      'metadata-flavor': 'Google',
    });
    response.end(JSON.stringify(answer.body));
  }
  return kms;
}

/** Encryption under a key of the service, bound to a context. */
class Vaulted {
  readonly #key = randomBytes(32);

  wrap(plaintext: Buffer, bound: string): Buffer {
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv);
    cipher.setAAD(Buffer.from(bound));
    return Buffer.concat([iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }

  /** Returns `undefined` if the text does not open. */
  unwrap(wrapped: Buffer, bound: string): Buffer | undefined {
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, wrapped.subarray(0, 12));
      decipher.setAAD(Buffer.from(bound));
      decipher.setAuthTag(wrapped.subarray(-16));
      return Buffer.concat([decipher.update(wrapped.subarray(12, -16)), decipher.final()]);
    } catch {
      return undefined;
    }
  }
}

/**
 * Vault's transit engine at `/transit` with the key `holdfast`, and its Kubernetes login for the role `agents`.
 *
 * @param options.bindsNothing ignores `associated_data`, as versions of Vault before that parameter do
 */
export function startVaultKms(options: { bindsNothing?: boolean } = {}): Promise<KmsServer> {
  const vaulted = new Vaulted();
  return startKms(
    ({ path, headers, json }, kms) => {
      if (path === '/v1/auth/kubernetes/login') {
        const granted = json['role'] === 'agents' && json['jwt'] === 'the-pods-own-token';
        if (!granted) return { status: 403, body: { errors: ['permission denied'] } };
        return {
          status: 200,
          body: { auth: { client_token: kms.token, lease_duration: 3600, renewable: true } },
        };
      }
      if (kms.token !== undefined && headers['x-vault-token'] !== kms.token) {
        return { status: 403, body: { errors: ['permission denied'] } };
      }
      const [, step, key] = /^\/v1\/transit\/(encrypt|decrypt)\/([\w-]+)$/.exec(path) ?? [];
      if (step === undefined) return { status: 404, body: { errors: [`no handler for route "${path}"`] } };
      if (!kms.keys.has(key ?? '')) return { status: 400, body: { errors: ['encryption key not found'] } };
      const bound = options.bindsNothing ? '' : String(json['associated_data']);
      if (step === 'encrypt') {
        const wrapped = vaulted.wrap(Buffer.from(json['plaintext'] ?? '', 'base64'), bound);
        return {
          status: 200,
          body: { data: { ciphertext: `vault:v1:${wrapped.toString('base64')}`, key_version: 1 } },
        };
      }
      const text = String(json['ciphertext']).replace(/^vault:v1:/, '');
      const plaintext = vaulted.unwrap(Buffer.from(text, 'base64'), bound);
      if (plaintext === undefined) {
        return { status: 400, body: { errors: ['cipher: message authentication failed'] } };
      }
      return { status: 200, body: { data: { plaintext: plaintext.toString('base64') } } };
    },
    ['holdfast'],
  );
}

/** AWS KMS over JSON 1.1 with the key `alias/holdfast`. It demands a signature but does not check it. */
export function startAwsKms(): Promise<KmsServer> {
  const vaulted = new Vaulted();
  const refusal = (type: string) => ({ status: 400, body: { __type: type, message: 'a message' } });
  return startKms(
    ({ headers, json }, kms) => {
      if (!headers.authorization?.startsWith('AWS4-HMAC-SHA256 Credential=')) {
        return refusal('MissingAuthenticationTokenException');
      }
      if (!kms.keys.has(json['KeyId'] ?? '')) return refusal('NotFoundException');
      // The client always sends the members in the same order.
      const context = JSON.stringify(json['EncryptionContext'] ?? {});
      if (headers['x-amz-target'] === 'TrentService.Encrypt') {
        const wrapped = vaulted.wrap(Buffer.from(json['Plaintext'] ?? '', 'base64'), context);
        return { status: 200, body: { CiphertextBlob: wrapped.toString('base64'), KeyId: json['KeyId'] } };
      }
      if (headers['x-amz-target'] !== 'TrentService.Decrypt') return refusal('UnknownOperationException');
      const plaintext = vaulted.unwrap(Buffer.from(json['CiphertextBlob'] ?? '', 'base64'), context);
      if (plaintext === undefined) return refusal('InvalidCiphertextException');
      return { status: 200, body: { Plaintext: plaintext.toString('base64'), KeyId: json['KeyId'] } };
    },
    ['alias/holdfast'],
  );
}

export const GCP_KEY = 'projects/p/locations/global/keyRings/r/cryptoKeys/holdfast';

/** Google Cloud KMS over REST, and the metadata server of a machine, which issues its access token. */
export function startGcpKms(): Promise<KmsServer> {
  const vaulted = new Vaulted();
  const refusal = (status: number, message: string) => ({
    status,
    body: { error: { code: status, message } },
  });
  return startKms(
    ({ method, path, headers, json }, kms) => {
      if (method === 'GET') {
        if (!path.startsWith('/computeMetadata/v1/instance/service-accounts/default/token'))
          return refusal(404, 'none');
        return { status: 200, body: { access_token: kms.token, expires_in: 3600, token_type: 'Bearer' } };
      }
      if (headers.authorization !== `Bearer ${kms.token}`)
        return refusal(401, 'Request had invalid credentials.');
      const [, key, step] = /^\/v1\/(.+):(encrypt|decrypt)$/.exec(path) ?? [];
      if (!kms.keys.has(key ?? '')) return refusal(404, 'CryptoKey not found.');
      const bound = String(json['additionalAuthenticatedData']);
      if (step === 'encrypt') {
        const wrapped = vaulted.wrap(Buffer.from(json['plaintext'] ?? '', 'base64'), bound);
        return {
          status: 200,
          body: { name: `${key}/cryptoKeyVersions/1`, ciphertext: wrapped.toString('base64') },
        };
      }
      const plaintext = vaulted.unwrap(Buffer.from(json['ciphertext'] ?? '', 'base64'), bound);
      if (plaintext === undefined) return refusal(400, 'Decryption failed: the ciphertext is invalid.');
      return { status: 200, body: { plaintext: plaintext.toString('base64') } };
    },
    [GCP_KEY],
  );
}
