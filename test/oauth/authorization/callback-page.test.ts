import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Callback, openCallbackServer } from '../../../src/oauth/authorization/callback-server.ts';
import { chromiumPath, openChromium } from '../../support/browser/chromium.ts';
import { measure } from '../../support/browser/page-measures.mjs';
import { requirement } from '../../support/requirement.ts';

const NO_CHROMIUM = requirement('Chromium is not installed', chromiumPath() !== undefined);

const LOGIN = { resource: 'https://mcp.example/mcp', account: 'default' };
const DENIED = {
  title: 'Access was refused',
  text: ['The authorization server says that access was not granted.', 'You can close this tab.'],
  login: LOGIN,
};

interface Shown {
  readonly page: Page;
  /** Everything that the browser wrote to its console, policy violations included. */
  readonly console: readonly string[];
  /** Every URL that the browser requested. */
  readonly requests: readonly string[];
}

describe.skipIf(NO_CHROMIUM)('callback page in a real browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await openChromium();
  });
  afterAll(() => browser.close());

  /** Opens a tab that is loading the callback URL. */
  async function arriving(options: { colorScheme?: 'light' | 'dark'; width?: number; query?: string } = {}) {
    const server = await openCallbackServer({ belongs: (query) => query.get('state') === 's' });
    onTestFinished(() => server.close());
    const context = await browser.newContext({
      colorScheme: options.colorScheme ?? 'light',
      viewport: { width: options.width ?? 1000, height: 700 },
    });
    onTestFinished(() => context.close());
    const page = await context.newPage();
    const console: string[] = [];
    const requests: string[] = [];
    page.on('console', (message) => {
      // Chromium also logs the status of a failure page.
      if (!message.text().startsWith('Failed to load resource: the server responded'))
        console.push(message.text());
    });
    page.on('pageerror', (error) => console.push(String(error)));
    page.on('dialog', (dialog) => {
      console.push(dialog.message());
      void dialog.dismiss();
    });
    page.on('request', (request) => requests.push(request.url()));
    const url = `${server.redirectUri}?${options.query ?? 'code=c&state=s'}`;
    const loaded = page.goto(url);
    loaded.catch(() => {
      // When a test fails, the server is closed before the page loads.
    });
    return { server, url, loaded, shown: { page, console, requests } };
  }

  async function after(
    say: (callback: Callback) => Promise<void>,
    options: { colorScheme?: 'light' | 'dark'; width?: number } = {},
  ): Promise<Shown & { url: string; status: number | undefined }> {
    const { server, url, loaded, shown } = await arriving(options);
    await say(await server.next({ timeoutMs: 30_000 }));
    const status = (await loaded)?.status();
    return { ...shown, url, status };
  }

  const success = (callback: Callback) => callback.succeed(LOGIN);
  const failure = (callback: Callback) => callback.fail(DENIED);

  test('names the server and the next step on the success page', async () => {
    const { page, status } = await after((callback) =>
      callback.succeed({ resource: 'https://mcp.example/mcp', account: 'work' }),
    );
    expect(status).toBe(200);
    expect(await page.title()).toBe('You are logged in');
    for (const text of [
      'You are logged in',
      'https://mcp.example/mcp',
      'work',
      'close this tab and go back',
    ]) {
      expect(await page.getByText(text, { exact: false }).first().isVisible()).toBe(true);
    }
  });

  test('does not mention an account on the success page when nobody chose one', async () => {
    const { page } = await after(success);
    expect(await page.getByText('Account').count()).toBe(0);
  });

  test('shows the success page only once the credential is stored', async () => {
    const { server, loaded, shown } = await arriving();
    const callback = await server.next({ timeoutMs: 30_000 });
    let arrived = false;
    const arrival = loaded.then(() => {
      arrived = true;
    });
    // The same browser loads another page first, so this page would have arrived if it had been sent.
    const other = await shown.page.context().newPage();
    expect((await other.goto(new URL('/other', server.redirectUri).href))?.status()).toBe(404);
    expect(arrived).toBe(false);
    expect(shown.page.url()).toBe('about:blank');
    await callback.succeed(LOGIN);
    await arrival;
    expect(await shown.page.textContent('h1')).toBe('You are logged in');
  });

  test('says on the failure page what happened, and nothing of success', async () => {
    const { page, status } = await after(failure);
    expect(status).toBe(400);
    for (const text of [DENIED.title, ...DENIED.text, LOGIN.resource]) {
      expect(await page.getByText(text).first().isVisible()).toBe(true);
    }
    expect(await page.textContent('body')).not.toContain('logged in');
  });

  test('says that the terminal still waits after a redirect that does not belong to the login', async () => {
    const { loaded, shown } = await arriving({ query: 'code=c&state=other' });
    expect((await loaded)?.status()).toBe(400);
    expect(await shown.page.getByText('The terminal is still waiting').isVisible()).toBe(true);
  });

  test('says that the login was used when the tab is reloaded', async () => {
    const { page } = await after(success);
    expect((await page.reload())?.status()).toBe(410);
    expect(await page.getByText('This login was used before').isVisible()).toBe(true);
  });

  describe.each(['light', 'dark'] as const)('color scheme %s', (colorScheme) => {
    test.each([
      ['success', success],
      ['failure', failure],
    ] as const)(
      'the %s page applies its style under the policy, and all its text is readable',
      async (_kind, say) => {
        const { page, console, requests, url } = await after(say, { colorScheme });
        const { main, body, texts } = await page.evaluate(measure);
        expect(main).toEqual({ maxWidth: '512px', borderTopLeftRadius: '16px' });
        expect(body).toMatchObject({ display: 'grid', marginTop: '0px' });
        expect(new Set(texts.map(({ name }) => name))).toEqual(
          new Set(['svg', 'h1', 'p', 'dt', 'dd', 'footer']),
        );
        const dark = colorScheme === 'dark';
        for (const { name, contrast, onDark } of texts) {
          expect({ name, readable: contrast >= 4.5, onDark }).toEqual({ name, readable: true, onDark: dark });
        }
        expect(console).toEqual([]);
        expect(requests).toEqual([url]);
      },
    );
  });

  test('changes its colors with the desktop’s color scheme', async () => {
    const { page } = await after(success);
    const paper = async () => (await page.evaluate(measure)).body.backgroundColor;
    const light = await paper();
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await paper()).not.toBe(light);
  });

  test.each([
    '<img src=x onerror=alert(1)><script>alert(2)</script>',
    '"><style>*{display:none}</style><!--',
    '&lt;b&gt;&amp;',
    '</dd></dl></main><h1>You are hacked</h1>',
  ])('shows a server or account named %s as plain text', async (hostile) => {
    for (const say of [
      (callback: Callback) => callback.succeed({ resource: hostile, account: hostile }),
      (callback: Callback) =>
        callback.fail({ title: hostile, text: [hostile], login: { resource: hostile, account: hostile } }),
    ]) {
      const { page, console, requests, url } = await after(say);
      expect(await page.locator('dd').allTextContents()).toEqual([hostile, hostile]);
      expect(await page.locator('img, script, main style, b').count()).toBe(0);
      expect(await page.locator('h1').count()).toBe(1);
      expect(await page.locator('dd').first().isVisible()).toBe(true);
      expect(console).toEqual([]);
      expect(requests).toEqual([url]);
    }
  });

  test('runs no script and loads nothing, even if something got into the page', async () => {
    const { page, console } = await after(success);
    await page.evaluate(`
      document.body.insertAdjacentHTML('beforeend', '<img src="https://elsewhere.example/x.png" onerror="document.title = 1">');
      document.body.insertAdjacentHTML('beforeend', '<iframe src="https://elsewhere.example/"></iframe>');
      const script = document.createElement('script');
      script.textContent = 'document.title = 2';
      document.body.append(script);
    `);
    await expect
      .poll(() => console.filter((text) => /Content Security Policy/i.test(text)).length)
      .toBeGreaterThan(2);
    expect(await page.title()).toBe('You are logged in');
  });

  test.each([320, 360])('fits a screen of %i px without scrolling sideways', async (width) => {
    const long = {
      resource: `https://mcp.example/${'a-very-long-path'.repeat(20)}`,
      account: 'w'.repeat(128),
    };
    for (const say of [
      success,
      failure,
      (callback: Callback) => callback.succeed(long),
      (callback: Callback) => callback.fail({ title: 'T'.repeat(80), text: ['t'.repeat(300)], login: long }),
    ]) {
      const { page } = await after(say, { width });
      const { texts, scrollWidth } = await page.evaluate(measure);
      expect(scrollWidth).toBe(width);
      for (const { name, fits, fontSize } of texts) {
        expect({ name, fits, large: fontSize >= 14 }).toEqual({ name, fits: true, large: true });
      }
    }
  });
});
