import { lookup as dnsLookup } from 'node:dns';
import { globalAgent } from 'node:https';
import { isIP, type LookupFunction, connect as overTcp, type Socket } from 'node:net';
import { checkServerIdentity, connect as overTls } from 'node:tls';
import { isLoopback, type Reach } from '../credential.ts';
import { UnsafeUrlError } from '../errors.ts';
import { quote } from '../quote.ts';
import { classify, holds, isLoopbackAddress } from './addresses.ts';

/*
 * Sockets, and where they may lead. How far a request may reach is decided by the address that is connected to, at the moment
 * of connecting: a name that is looked up first and connected to later can lead elsewhere by then (DNS rebinding).
 */

/** What is wrong with an address, if anything is. */
type Judge = (address: string) => UnsafeUrlError | undefined;

/**
 * Refuses a host that is itself an address beyond the reach: for such a host nothing is ever looked up.
 *
 * @throws UnsafeUrlError
 */
export function checkHost(url: URL, reach: Reach): void {
  const host = hostOf(url);
  const wrong = isIP(host) === 0 ? undefined : judge(url, reach)(host);
  if (wrong !== undefined) throw wrong;
}

/**
 * Opens a connection to the host of a URL; for https, with TLS on it. An address beyond the reach is not connected to, nor one
 * that is not this machine's where plain http is sent to `localhost`: the socket fails with an UnsafeUrlError.
 *
 * @param tunnel a connection to that host which a proxy has made already: the addresses were the proxy's to choose
 */
export function openSocket(url: URL, reach: Reach, tunnel?: Socket): Socket {
  return open(url, judge(url, reach), tunnel);
}

/** Opens a connection to a proxy. The user has named it, so it may be anywhere. */
export function openProxySocket(url: URL): Socket {
  return open(url, () => undefined);
}

function judge(url: URL, reach: Reach): Judge {
  const host = hostOf(url);
  // The name allows plain http, and the resolver, or the network, decides where the name leads.
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
  // The last word: where the connection really ends. It comes before the first byte of TLS and of HTTP.
  return socket.prependOnceListener('connect', () => {
    const { remoteAddress } = socket;
    const wrong = remoteAddress === undefined ? undefined : wrongWith(remoteAddress);
    if (remoteAddress === undefined || wrong !== undefined) socket.destroy(wrong);
  });
}

/**
 * What the program around us has set for its TLS, such as an authority or a client certificate, holds here too. That it checks
 * no certificate does not, be it by an option or by NODE_TLS_REJECT_UNAUTHORIZED=0: refresh tokens are sent here.
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

/** Looks a name up as the system does, and keeps of its addresses those that are allowed; several are tried as before. */
function lookupWithin(wrongWith: Judge): LookupFunction {
  const lookup = globalAgent.options.lookup ?? (dnsLookup as LookupFunction);
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

/** As sockets take it: an IPv6 address without its brackets. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}
