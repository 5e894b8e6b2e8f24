import { globalAgent } from 'node:https';
import { onTestFinished } from 'vitest';
import { selfSigned } from './self-signed.ts';

/*
 * A host that looks remote to Holdfast: its name leads to 127.0.0.1 and its certificate is trusted. Both hold for one
 * test and for node:https in this process only.
 */

export interface RemoteHost {
  readonly host: string;
  readonly key: string;
  readonly cert: string;
}

/** Creates a remote host. Pass the result to `hostileServer` as `tls`. One test may create several names. */
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
