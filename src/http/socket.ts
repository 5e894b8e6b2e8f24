import { lookup as dnsLookup } from 'node:dns';
import { globalAgent } from 'node:https';
import { isIP, type LookupFunction, connect as overTcp, type Socket } from 'node:net';
import { checkServerIdentity, connect as overTls } from 'node:tls';
import { isLoopback, type Reach } from '../credential.ts';
import { UnsafeUrlError } from '../errors.ts';
import { quote } from '../quote.ts';
import { classify, holds, isLoopbackAddress } from './addresses.ts';

/*
 * Sockets and their permitted addresses. The address decides at the moment of connecting. A name that was looked up
 * earlier may lead elsewhere by then (DNS rebinding).
 */

/** Returns the problem with an address, if there is one. */
type Judge = (address: string) => UnsafeUrlError | undefined;

/**
 * Refuses a host that is itself an address beyond the reach, since no lookup checks such a host.
 *
 * @throws UnsafeUrlError
 */
export function checkHost(url: URL, reach: Reach): void {
  const host = hostOf(url);
  const wrong = isIP(host) === 0 ? undefined : judge(url, reach)(host);
  if (wrong !== undefined) throw wrong;
}

/**
 * Opens a connection to the host of a URL, with TLS for https. The socket fails with an UnsafeUrlError for an address
 * beyond the reach. It also fails when plain http to `localhost` would leave this machine.
 *
 * @param tunnel an existing connection to the host through a proxy; the proxy chose the address
 */
export function openSocket(url: URL, reach: Reach, tunnel?: Socket): Socket {
  return open(url, judge(url, reach), tunnel);
}

/** Opens a connection to a proxy. The user named the proxy, so any address is allowed. */
export function openProxySocket(url: URL): Socket {
  return open(url, () => undefined);
}

function judge(url: URL, reach: Reach): Judge {
  const host = hostOf(url);
  // The name permits plain http, but the resolver or the network decides the address.
  const mustBeHere = url.protocol === 'http:' && isLoopback(url);
  return (address) => {
    if (!holds(reach, address)) return beyond(host, address);
    return mustBeHere && !isLoopbackAddress(address) ? notHere(host, address) : undefined;
  };
}

function open(url: URL, wrongWith: Judge, tunnel?: Socket): Socket {
  const host = hostOf(url);
  const secure = url.protocol === 'https:';
  const port = Number(url.port || (secure ? 443 : 80));
  const lookup = lookupWithin(wrongWith);
  if (!secure && tunnel !== undefined) return tunnel;
  const socket = secure
    ? overTls({
        ...programTls(),
        host,
        port,
        lookup,
        ...(tunnel && { socket: tunnel }),
        servername: isIP(host) === 0 ? host : '',
        ALPNProtocols: ['http/1.1'],
      })
    : overTcp({ host, port, lookup, noDelay: true });
  if (tunnel !== undefined) return socket;
  // The final check is on the real remote address, before the first byte of TLS and HTTP.
  return socket.prependOnceListener('connect', () => {
    const { remoteAddress } = socket;
    const wrong = remoteAddress === undefined ? undefined : wrongWith(remoteAddress);
    if (remoteAddress === undefined || wrong !== undefined) socket.destroy(wrong);
  });
}

/**
 * The TLS options of the surrounding program, such as a certificate authority or a client certificate. Certificates are
 * always checked, though, despite such an option or NODE_TLS_REJECT_UNAUTHORIZED=0: this sends refresh tokens.
 */
function programTls() {
  const { checkServerIdentity: further, ...options } = globalAgent.options;
  return {
    ...options,
    rejectUnauthorized: true,
    checkServerIdentity: (...given: Parameters<typeof checkServerIdentity>) =>
      checkServerIdentity(...given) ?? further?.(...given),
  };
}

/** Looks up a name as the system does and drops addresses that are not allowed. Node still tries several in turn. */
function lookupWithin(wrongWith: Judge): LookupFunction {
  const lookup = globalAgent.options.lookup ?? dnsLookup;
  return (host, options, callback) =>
    lookup(host, { ...options, all: true }, (error, found, family) => {
      if (error !== null) return callback(error, []);
      const answers = typeof found === 'string' ? [{ address: found, family: family ?? isIP(found) }] : found;
      const allowed = answers.filter(({ address }) => wrongWith(address) === undefined);
      const [first] = allowed;
      if (first === undefined) {
        const [refused] = answers;
        callback((refused && wrongWith(refused.address)) ?? beyond(host, 'no address'), []);
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

function notHere(host: string, address: string): UnsafeUrlError {
  return new UnsafeUrlError(
    `${quote(host)} leads to ${quote(address)}, which is not this machine; nothing was sent there over plain http.`,
    { hint: 'Check what the hosts file and the resolver say of that name, or use https.' },
  );
}

/** The host in the form for sockets: an IPv6 address without brackets. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}
