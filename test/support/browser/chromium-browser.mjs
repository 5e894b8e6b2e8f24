#!/usr/bin/env node
/*
 * `BROWSER=<this file>` makes `holdfast login` use a real Chromium, without a window: it opens the URL, fills the real
 * forms as a person would, and waits for the last page.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  (path) => existsSync(path),
);
// Chromium stores files in the home directory, which may not exist for the user that starts it.
const home = await mkdtemp(join(tmpdir(), 'holdfast-browser-'));
const browser = await chromium.launch({
  executablePath,
  env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home },
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
try {
  const page = await browser.newPage();
  await page.goto(process.argv[2]);
  await page.fill('input[name=login]', 'alice');
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
  await page.waitForSelector('input[name=prompt][value=consent]', { state: 'attached' });
  await page.click('button[type=submit]');
  await page.waitForURL('**/callback?**');
  await page.waitForSelector('main');
} finally {
  await browser.close();
  await rm(home, { recursive: true, force: true });
}
