import { lookup as dnsLookup } from 'node:dns';
import { globalAgent } from 'node:https';
import { isIP, type LookupFunction, connect as overTcp, type Socket } from 'node:net';
import { connect as overTls } from 'node:tls';
import type { Reach } from '../credential.ts';
import { UnsafeUrlError } from '../errors.ts';
import { quote } from '../quote.ts';
import { classify, holds } from './addresses.ts';

/*
 * The connection that a request goes over. How far it may reach is decided by the address that is connected to, at the
 * moment of connecting: a name that is looked up first and connected to later can lead elsewhere by then (DNS rebinding).
 */

/**
 * Refuses a host that is itself an address beyond the reach: for such a host nothing is ever looked up.
 *
 * @throws UnsafeUrlError
 */
export function checkHost(url: URL, reach: Reach): void {
  const host = hostOf(url);
  if (isIP(host) !== 0 && !holds(reach, host)) throw beyond(host, host);
}

/**
 * Opens a connection to the host of a URL; for https, with TLS on it. An address beyond the reach is not connected to: the
 * socket fails with an UnsafeUrlError.
 *
 * @param tunnel a connection to that host which a proxy has made already: the addresses were the proxy's to choose
 */
export function openSocket(url: URL, reach: Reach, tunnel?: Socket): Socket {
  const host = hostOf(url);
  const secure = url.protocol === 'https:';
  const port = Number(url.port || (secure ? 443 : 80));
  const lookup = lookupWithin(reach);
  const socket = secure
    ? overTls({
        // What the program around us has set for its TLS, such as a CA or a client certificate, holds here too.
        ...globalAgent.options,
        host,
        port,
        lookup,
        ...(tunnel && { socket: tunnel }),
        servername: isIP(host) === 0 ? host : '',
        ALPNProtocols: ['http/1.1'],
      })
    : overTcp({ host, port, lookup, noDelay: true });
  if (tunnel !== undefined) return socket;
  // The last word: where the connection really ends. It comes before the first byte of TLS and of HTTP.
  return socket.prependOnceListener('connect', () => {
    const { remoteAddress } = socket;
    if (remoteAddress === undefined) socket.destroy();
    else if (!holds(reach, remoteAddress)) socket.destroy(beyond(host, remoteAddress));
  });
}

/** Looks a name up as the system does, and keeps of its addresses those within reach; several are tried as before. */
function lookupWithin(reach: Reach): LookupFunction {
  const lookup = globalAgent.options.lookup ?? (dnsLookup as LookupFunction);
  return (host, options, callback) =>
    lookup(host, { ...options, all: true }, (error, found, family) => {
      if (error !== null) return callback(error, []);
      const answers = typeof found === 'string' ? [{ address: found, family: family ?? isIP(found) }] : found;
      const allowed = answers.filter(({ address }) => holds(reach, address));
      const [first] = allowed;
      if (first === undefined) {
        callback(beyond(host, answers[0]?.address ?? 'no address'), []);
      } else if (options.all === true) {
        callback(null, allowed);
      } else {
        callback(null, first.address, first.family);
      }
    });
}

function beyond(host: string, address: string): UnsafeUrlError {
  const leads = host === address ? 'is' : `leads to ${quote(address)},`;
  return new UnsafeUrlError(
    `${quote(host)} ${leads} ${classify(address).kind}; nothing was sent there, because a server farther out named it.`,
    { hint: 'If you trust that server with your network: holdfast login URL --lenient private-addresses' },
  );
}

/** As sockets take it: an IPv6 address without its brackets. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}

/** The code that Node gives an error, such as `ECONNREFUSED`. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Whether the code says that the other side's certificate is not trusted. */
export function isAboutCertificate(code: string | undefined): boolean {
  return code !== undefined && CERTIFICATE.test(code);
}

const CERTIFICATE =
  /^(ERR_TLS_CERT_\w+|CERT_\w+|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_\w+)$/;
