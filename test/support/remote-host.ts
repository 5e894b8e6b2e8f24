import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { globalAgent } from 'node:https';
import { onTestFinished } from 'vitest';

/*
 * A host that is not this machine, as far as Holdfast can tell: its name leads to 127.0.0.1 and its certificate is
 * trusted, both for one test and for node:https in this process only.
 */

export interface RemoteHost {
  readonly host: string;
  readonly key: string;
  readonly cert: string;
}

/** Give the result to `hostileServer` as `tls`. Several names may be made in one test. */
export function remoteHost(host: string, options: { trusted?: boolean } = {}): RemoteHost {
  const { key, cert } = selfSigned(host);
  if (options.trusted !== false) {
    const before = { ca: globalAgent.options.ca, lookup: globalAgent.options.lookup };
    globalAgent.options.ca = [before.ca ?? [], cert].flat() as string[];
    globalAgent.options.lookup = (_name, wanted, callback) => {
      if (wanted.all) callback(null, [{ address: '127.0.0.1', family: 4 }]);
      else callback(null, '127.0.0.1', 4);
    };
    onTestFinished(() => void Object.assign(globalAgent.options, before));
  }
  return { host, key, cert };
}

/** An X.509 certificate for one DNS name, signed by itself (RFC 5280 section 4.1). */
function selfSigned(host: string): { key: string; cert: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = sequence(der(0x06, Buffer.from('2a8648ce3d040302', 'hex'))); // ecdsa-with-SHA256
  const name = sequence(
    der(0x31, sequence(der(0x06, Buffer.from('550403', 'hex')), der(0x0c, Buffer.from(host)))), // CN
  );
  const time = (ms: number) =>
    der(0x18, Buffer.from(`${new Date(ms).toISOString().replace(/[-:T]|\..*/g, '')}Z`));
  const alternativeName = sequence(
    der(0x06, Buffer.from('551d11', 'hex')),
    der(0x04, sequence(der(0x82, Buffer.from(host)))),
  );
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([1, ...randomBytes(8)])),
    algorithm,
    name,
    sequence(time(Date.now() - 86_400_000), time(Date.now() + 86_400_000)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(alternativeName)),
  );
  const signature = sign('sha256', body, privateKey);
  const certificate = sequence(body, algorithm, der(0x03, Buffer.from([0]), signature));
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${certificate
      .toString('base64')
      .match(/.{1,64}/g)
      ?.join('\n')}\n-----END CERTIFICATE-----\n`,
  };
}

function sequence(...parts: Uint8Array[]): Buffer {
  return der(0x30, ...parts);
}

/** Tag, length, value (X.690). */
function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const value = Buffer.concat(parts);
  const length =
    value.length < 128
      ? [value.length]
      : value.length < 256
        ? [0x81, value.length]
        : [0x82, value.length >> 8, value.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), value]);
}
