import { BlockList, isIPv6 } from 'node:net';
import { isLoopback } from '../credential.ts';
import { UnsafeUrlError } from '../errors.ts';
import { quote } from '../quote.ts';

/* Checks the URLs that may be requested, and the URLs that a server publishes or redirects to. */

/** Maximum length in characters. A longer server URL may still yield URLs made from it, such as its metadata URL. */
const MAX_URL_LENGTH = 2048;
const LONGER_THAN_ITS_OWN = 256;

/**
 * Parses a URL and checks that a request to it may carry secrets: https, or http to this machine by its name.
 *
 * @throws UnsafeUrlError
 */
export function checkUrl(url: string | URL): URL {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new UnsafeUrlError(`${quote(String(url))} is not a URL.`);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw new UnsafeUrlError(`A URL at ${quote(parsed.host)} carries a user name or password.`);
  }
  if (parsed.protocol !== 'https:' && !(parsed.protocol === 'http:' && isLoopback(parsed))) {
    throw new UnsafeUrlError(`${quote(String(url))} is neither https nor http to this machine.`, {
      hint: 'Tokens would cross the network in the clear (RFC 9700 section 2.6). Tell who runs the server.',
    });
  }
  return parsed;
}

/**
 * Checks a URL from a server's metadata, as `checkUrl` does. Only a server on this machine may name a URL on this
 * machine; a remote server could point at local services that are not its own.
 *
 * @param name the field in the metadata, such as `token endpoint`
 * @param resource the MCP server
 * @param allowed whether the user allows the server to name this machine
 * @throws UnsafeUrlError
 */
export function checkPublishedUrl(text: string, name: string, resource: URL, allowed = false): URL {
  const refuse = (why: string, shown = quote(text)) =>
    new UnsafeUrlError(`The server names the ${name} ${shown}, which ${why}.`, {
      hint: 'It was not used. Tell who runs the server.',
    });
  const longest = Math.max(MAX_URL_LENGTH, resource.href.length + LONGER_THAN_ITS_OWN);
  if (text.length > longest) throw refuse(`is too long: it is not a URL of at most ${longest} characters`);
  if (/[\s\p{Cc}]/u.test(text) || !URL.canParse(text)) throw refuse('is not a URL');
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw refuse('is neither http nor https');
  if (url.username !== '' || url.password !== '') {
    throw refuse('carries a user name or password', `at ${quote(url.host)}`);
  }
  if (text.includes('#')) throw refuse('has a fragment');
  if (pointsHere(url) && !pointsHere(resource) && !allowed) throw refuse('is on your own machine');
  if (url.protocol === 'http:' && !isLoopback(url)) throw refuse('is not https');
  return url;
}

/** Whether the status is a redirect to another URL (RFC 9110 section 15.4). */
export function isRedirect(status: number): boolean {
  return [301, 302, 303, 307, 308].includes(status);
}

/**
 * The target of a redirect, checked as in `checkUrl`. A redirect never leads from https to http, nor from another
 * machine to this one.
 *
 * @param from the URL of the answer
 * @throws UnsafeUrlError
 */
export function redirectTarget(
  { status, headers }: { readonly status: number; readonly headers: Headers },
  from: URL,
): URL | undefined {
  const location = headers.get('location');
  if (location === null || !isRedirect(status)) return undefined;
  if (!URL.canParse(location, from.href)) {
    throw new UnsafeUrlError(`${quote(from.href)} redirects to ${quote(location)}, which is not a URL.`);
  }
  const next = checkUrl(new URL(location, from));
  const refuse = (why: string) =>
    new UnsafeUrlError(`${quote(from.href)} redirects to ${quote(next.href)}, which is ${why}.`);
  if (from.protocol === 'https:' && next.protocol !== 'https:') throw refuse('not https');
  if (pointsHere(next) && !pointsHere(from)) throw refuse('on your own machine');
  return next;
}

const OWN_ADDRESSES = new BlockList();
OWN_ADDRESSES.addSubnet('127.0.0.0', 8);
OWN_ADDRESSES.addSubnet('0.0.0.0', 8);
OWN_ADDRESSES.addAddress('::1', 'ipv6');
OWN_ADDRESSES.addAddress('::', 'ipv6');

/**
 * Whether a request to the URL would end at this machine. When unsure it says yes, since a remote server may not name
 * this machine. `isLoopback` says no when unsure, since it permits plain http.
 */
export function pointsHere(url: URL): boolean {
  const host = url.hostname.replace(/^\[|\]$|\.$/g, '');
  return /(^|\.)localhost$/.test(host) || OWN_ADDRESSES.check(host, isIPv6(host) ? 'ipv6' : 'ipv4');
}
