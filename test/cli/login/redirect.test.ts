import { describe, expect, test } from 'vitest';
import { browse } from '../../support/browser/scripted-browser.mjs';
import { contentsOf } from '../../support/homes/disk.ts';
import { goodLogin } from '../../support/homes/good-login.ts';

const good = goodLogin();

describe('the redirect of holdfast login', () => {
  test('refuses a redirect with another state, and the login can still finish', async () => {
    const at = await good.home();
    const before = await contentsOf(at.home);
    const login = at.start(['login', good.servers.resource, '--account', 'b', '--no-browser']);
    await login.says('/auth?');
    const url = /http\S+\/auth\?\S+/.exec(login.said().err)?.[0] ?? '';
    const callback = new URL(new URL(url).searchParams.get('redirect_uri') ?? '');
    callback.search = '?code=stolen&state=guessed';
    const refused = await fetch(callback);
    expect(refused.status).toBe(400);
    expect(await refused.text()).not.toContain('guessed');
    expect(await contentsOf(at.home)).toEqual(before);
    expect((await browse(url)).status).toBe(200);
    expect((await login.ended).code).toBe(0);
    expect((await at.run(['token', good.servers.resource, '--account', 'b'])).code).toBe(0);
  });

  test('reports the redirects with another state when nobody finishes the login', async () => {
    const at = await good.home();
    const told = await good.unharmed(at, async () => {
      const login = at.start([
        'login',
        good.servers.resource,
        '--account',
        'b',
        '--no-browser',
        '--timeout',
        '2',
      ]);
      await login.says('/auth?');
      const url = /http\S+\/auth\?\S+/.exec(login.said().err)?.[0] ?? '';
      const callback = new URL(url).searchParams.get('redirect_uri');
      await (await fetch(`${callback}?code=stolen&state=guessed`)).text();
      return login.ended;
    });
    expect(told).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      error: Nobody finished the login in the browser within 2 s. 1 redirect with the wrong state came and did not belong to this login. Nothing was stored.
        Log in again; --timeout SECONDS gives more time."
    `);
  });

  test('uses a redirect that comes twice only once', async () => {
    const at = await good.home();
    const login = at.start(['login', good.servers.resource, '--account', 'b', '--no-browser']);
    await login.says('/auth?');
    const url = /http\S+\/auth\?\S+/.exec(login.said().err)?.[0] ?? '';
    const before = await good.servers.counters();
    await good.servers.behave({ delayMs: 1000 });
    const first = browse(url);
    await login.says('Fetching the tokens');
    const request = new URL(url).searchParams;
    const again = await fetch(`${request.get('redirect_uri')}?code=x&state=${request.get('state')}`);
    expect(again.status).toBe(410);
    await again.text();
    expect((await first).status).toBe(200);
    await good.servers.behave({});
    expect((await login.ended).code).toBe(0);
    const after = await good.servers.counters();
    expect(after.tokenRequests - before.tokenRequests).toBe(1);
    expect(after.grantsRevoked - before.grantsRevoked).toBe(0);
  });
});
