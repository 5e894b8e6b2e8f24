#!/usr/bin/env node
/*
 * A browser for tests: given an authorization URL, it fills the real forms of the authorization server, keeps its cookies
 * and follows its redirects to the callback on this machine. `BROWSER=<this file>` makes `holdfast login` use it.
 * With HOLDFAST_TEST_BROWSER=deny it presses cancel. Prints the last page's status and text.
 */

/**
 * @param {string} url
 * @param {{ deny?: boolean, user?: string }} [options]
 * @returns {Promise<{ status: number, text: string, url: string }>}
 */
export async function browse(url, options = {}) {
  const cookies = new Map();
  let page = await visit(url, { method: 'GET' });
  for (let steps = 0; steps < 20; steps += 1) {
    if (new URL(page.url).pathname === '/callback') return page;
    const action = /<form[^>]*action="([^"]+)"/.exec(page.text)?.[1];
    if (action === undefined) return page;
    const target = new URL(action, page.url).href;
    if (options.deny) {
      page = await visit(`${target}/abort`, { method: 'GET' });
      continue;
    }
    const prompt = /name="prompt" value="(\w+)"/.exec(page.text)?.[1] ?? '';
    const fields =
      prompt === 'login' ? { prompt, login: options.user ?? 'alice', password: 'any' } : { prompt };
    page = await visit(target, { method: 'POST', body: new URLSearchParams(fields) });
  }
  throw new Error('The login did not come to an end.');

  async function visit(start, init) {
    let target = start;
    let request = init;
    for (let redirects = 0; redirects < 20; redirects += 1) {
      const { host } = new URL(target);
      const jar = cookies.get(host) ?? new Map();
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
      const response = await fetch(target, {
        ...request,
        redirect: 'manual',
        headers: cookie ? { cookie } : {},
      });
      for (const line of response.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
        if (value === '') jar.delete(name);
        else jar.set(name, value);
      }
      cookies.set(host, jar);
      const location = response.headers.get('location');
      if (location === null) return { status: response.status, text: await response.text(), url: target };
      await response.body?.cancel();
      target = new URL(location, target).href;
      request = { method: 'GET' };
    }
    throw new Error('Too many redirects.');
  }
}

if (process.argv[1] !== undefined && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  const [url] = process.argv.slice(2);
  void browse(url, { deny: process.env.HOLDFAST_TEST_BROWSER === 'deny' }).then(({ status, text }) => {
    process.stdout.write(`${status} ${text.replaceAll(/<[^>]+>/g, ' ').replaceAll(/\s+/g, ' ')}\n`);
  });
}
