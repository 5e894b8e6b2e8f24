import { request as overHttp } from 'node:http';
import { request as overTls } from 'node:https';
import type { Socket } from 'node:net';
import { InvalidArgumentError, NetworkError } from '../errors.ts';
import { quote } from '../quote.ts';
import { Secret } from '../secret.ts';
import type { Environment } from '../system/environment.ts';
import { type ProxyVariable, proxyVariable } from '../system/network/proxy-environment.ts';
import { VERSION } from '../version.ts';
import { certificateHint, whyOf } from './failure.ts';
import { pointsHere } from './safe-url.ts';
import { openProxySocket } from './socket.ts';

/*
 * Requests through the proxy of the environment, by CONNECT (RFC 9110 section 9.3.6). TLS ends at the server, so the
 * proxy sees only a host name.
 *
 * It uses node:http instead of https-proxy-agent, which has four problems. It reads the proxy's answer without a limit.
 * It keeps the connection open after an abort. It logs the proxy's password under DEBUG=*. And for a server named by an
 * address, it checks the certificate against the proxy's name.
 */

/** A proxy, and the environment variable that names it. */
export interface Proxy {
  /** Without user name and password. */
  readonly url: URL;
  /** The value of `Proxy-Authorization`. */
  readonly authorization: Secret | undefined;
  readonly variable: string;
}

const MAX_HEADER_BYTES = 16 * 1024;

/**
 * The proxy of the environment for a URL, if any. URLs on this machine never use a proxy, since the proxy would reach
 * its own machine instead.
 *
 * @param environment its proxy variables decide; this process's by default
 * @throws InvalidArgumentError when the variable holds something else
 */
export function proxyFor(url: URL, environment?: Environment): Proxy | undefined {
  if (pointsHere(url)) return undefined;
  const variable = proxyVariable(url, environment);
  return variable === undefined ? undefined : parse(variable);
}

function parse({ name, value }: ProxyVariable): Proxy {
  const hint = 'It should look like http://proxy.example.com:3128, or be unset.';
  const text = value.reveal().trim();
  const written = text.includes('://') ? text : `http://${text}`;
  // No message shows the value, since even malformed text may contain a password.
  if (!URL.canParse(written)) {
    throw new InvalidArgumentError(`The environment variable ${name} does not hold the URL of a proxy.`, {
      hint,
    });
  }
  const url = new URL(written);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new InvalidArgumentError(
      `The environment variable ${name} names a proxy that is neither http nor https, which Holdfast cannot use.`,
      { hint },
    );
  }
  const { username, password } = url;
  const authorization =
    username === '' && password === ''
      ? undefined
      : new Secret(
          `Basic ${Buffer.from(`${decoded(username)}:${decoded(password)}`, 'utf8').toString('base64')}`,
        );
  url.username = '';
  url.password = '';
  return { url, authorization, variable: name };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // A password with a bare % in it.
  }
}

/**
 * Opens a connection through the proxy to the host of a URL; TLS comes later. When this fails, no byte of the request
 * was sent.
 *
 * @param ended aborts and closes the connection; any error may be thrown then, as the caller knows the reason
 * @throws NetworkError, `unsent`, when the proxy cannot be reached or does not connect
 */
export async function openTunnel(proxy: Proxy, target: URL, ended: AbortSignal): Promise<Socket> {
  const authority = `${target.hostname}:${target.port || (target.protocol === 'https:' ? 443 : 80)}`;
  const start = proxy.url.protocol === 'https:' ? overTls : overHttp;
  const outgoing = start(proxy.url, {
    method: 'CONNECT',
    path: authority,
    maxHeaderSize: MAX_HEADER_BYTES,
    headers: {
      host: authority,
      'user-agent': `holdfast/${VERSION}`,
      ...(proxy.authorization && { 'proxy-authorization': proxy.authorization.reveal() }),
    },
    createConnection: () => openProxySocket(proxy.url),
  });
  const giveUp = () => outgoing.destroy();
  ended.addEventListener('abort', giveUp, { once: true });
  try {
    return await new Promise<Socket>((resolve, reject) => {
      const fail = (error = new Error('The connection was closed.')) =>
        reject(ended.aborted ? error : unreachable(proxy, target, error));
      outgoing
        .on('error', fail)
        .on('close', () => fail())
        .on('connect', ({ statusCode = 0 }, socket: Socket, early) => {
          // From here on this code owns the connection and its errors. TLS on top of it reports them.
          socket.on('error', () => {});
          if (statusCode >= 200 && statusCode < 300) {
            if (early.byteLength > 0) socket.unshift(early);
            resolve(socket);
          } else {
            socket.destroy();
            reject(refused(proxy, target, statusCode));
          }
        })
        .end();
    });
  } finally {
    ended.removeEventListener('abort', giveUp);
  }
}

function unreachable(proxy: Proxy, target: URL, cause: Error): NetworkError {
  return new NetworkError(
    `The proxy ${quote(proxy.url.host)}, which leads to ${quote(target.host)}, cannot be reached${whyOf(cause)}.`,
    {
      cause,
      unsent: true,
      hint:
        certificateHint(cause) ??
        `The environment variable ${proxy.variable} names it: check it, or list the host in NO_PROXY.`,
    },
  );
}

function refused(proxy: Proxy, target: URL, status: number): NetworkError {
  const { variable, authorization } = proxy;
  const withPassword = `${variable}=${proxy.url.protocol}//user:password@${proxy.url.host}`;
  const hint =
    status === 407
      ? authorization === undefined
        ? `It asks for a user name and a password. Set ${withPassword}`
        : `It does not take the user name and password in ${variable}. Set ${withPassword}`
      : status >= 500
        ? 'It does not reach that host itself, or is in trouble. Check the address, then try again.'
        : 'Ask who runs the proxy to allow that host, or list the host in NO_PROXY if it can be reached without.';
  return new NetworkError(
    `The proxy ${quote(proxy.url.host)} does not connect to ${quote(target.host)}: it answered with status ${status}.`,
    { unsent: true, hint },
  );
}
