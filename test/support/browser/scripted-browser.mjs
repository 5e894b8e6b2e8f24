#!/usr/bin/env node
/*
 * A browser for tests: given an authorization URL, it fills the real forms of the authorization server, keeps its cookies
 * and follows its redirects to the callback on this machine. `BROWSER=<this file>` makes `holdfast login` use it.
 * With HOLDFAST_TEST_BROWSER=deny it presses cancel where a page lets it. Prints the last page's status and text.
 */

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';

/**
 * @param {string} url
 * @param {{ deny?: boolean, user?: string, userCode?: string }} [options]
 * @returns {Promise<{ status: number, text: string, url: string }>}
 */
export async function browse(url, options = {}) {
  const cookies = new Map();
  const user = options.user ?? 'alice';
  // The input of a person, by field name. Every other field is sent as the page has it.
  const typed = { login: user, email: `${user}@example.com`, password: 'any', user_code: options.userCode };
  let page = await visit(url, { method: 'GET' });
  for (let steps = 0; steps < 20; steps += 1) {
    if (new URL(page.url).pathname === '/callback') return page;
    const form = /<form[^>]*action="([^"]+)"[^>]*>(.*?)<\/form>/s.exec(page.text);
    if (form === null) return page;
    const cancel = options.deny ? /<a href="([^"]+)">\[ Cancel \]/.exec(page.text) : null;
    if (cancel !== null) return visit(new URL(unescaped(cancel[1]), page.url).href, { method: 'GET' });
    const target = new URL(unescaped(form[1]), page.url).href;
    page = await visit(target, { method: 'POST', body: fieldsOf(form[2], typed) });
  }
  throw new Error('The login did not come to an end.');

  async function visit(start, init) {
    let target = start;
    let request = init;
    for (let redirects = 0; redirects < 20; redirects += 1) {
      const { host } = new URL(target);
      const jar = cookies.get(host) ?? new Map();
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
      const response = await navigate(target, { ...request, ...(cookie ? { cookie } : {}) });
      for (const line of response.headers['set-cookie'] ?? []) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
        if (value === '') jar.delete(name);
        else jar.set(name, value);
      }
      cookies.set(host, jar);
      const { location } = response.headers;
      if (location === undefined) return { status: response.status, text: response.text, url: target };
      target = new URL(location, target).href;
      request = { method: 'GET' };
    }
    throw new Error('Too many redirects.');
  }
}

/**
 * Sends a request as a browser does when a person navigates. fetch always says that it is a script (`Sec-Fetch-Mode:
 * cors`), and some servers then answer with JSON in place of a redirect.
 */
async function navigate(url, { method, body, cookie }) {
  const { protocol } = new URL(url);
  const outgoing = (protocol === 'https:' ? https : http).request(url, {
    method,
    // No connection outlives its request; otherwise one to a server that was killed could be used for the next.
    agent: false,
    headers: {
      accept: 'text/html',
      'sec-fetch-mode': 'navigate',
      ...(cookie === undefined ? {} : { cookie }),
      ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
    },
  });
  outgoing.end(body?.toString());
  const [response] = await once(outgoing, 'response');
  return { status: response.statusCode, headers: response.headers, text: await text(response) };
}

function fieldsOf(form, typed) {
  const fields = new URLSearchParams();
  for (const [input] of form.matchAll(/<input[^>]*>/g)) {
    const name = attribute(input, 'name');
    const value = attribute(input, 'value') ?? typed[name];
    if (name !== undefined && value !== undefined) fields.set(name, value);
  }
  return fields;
}

function attribute(tag, name) {
  const value = new RegExp(`\\s${name}="([^"]*)"`).exec(tag)?.[1];
  return value === undefined ? undefined : unescaped(value);
}

function unescaped(text) {
  return text
    .replaceAll('&quot;', '"')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&');
}

if (process.argv[1] !== undefined && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  const [url] = process.argv.slice(2);
  void browse(url, { deny: process.env.HOLDFAST_TEST_BROWSER === 'deny' }).then(({ status, text }) => {
    process.stdout.write(`${status} ${text.replaceAll(/<[^>]+>/g, ' ').replaceAll(/\s+/g, ' ')}\n`);
  });
}
