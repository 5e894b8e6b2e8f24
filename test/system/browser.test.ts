import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { UnsafeUrlError } from '../../src/errors.ts';
import type { Environment } from '../../src/system/environment.ts';
import { openBrowser, openerOf } from '../../src/system/processes/browser.ts';

const URL_OF_LOGIN = 'https://as.example/authorize?a=1&b=2';
const WINDOWS = process.platform === 'win32';

interface Opened {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

interface Desk {
  readonly directory: string;
  /** Writes a program that records how it was started. */
  readonly program: (name: string, ending?: string) => Promise<string>;
  /** Reads how the program was started. @throws if it was not */
  readonly opened: () => Promise<Opened>;
  readonly environment: (variables: Record<string, string>, platform?: NodeJS.Platform) => Environment;
}

/** A directory with spaces in its name that is the whole PATH, except for the Node that runs its programs. */
async function desk(): Promise<Desk> {
  const directory = join(await mkdtemp(join(tmpdir(), 'holdfast test ')), 'my programs');
  onTestFinished(() => rm(join(directory, '..'), { recursive: true, force: true }));
  await mkdir(directory);
  const record = join(directory, 'record.json');
  return {
    directory,
    program: async (name, ending = '') => {
      const path = join(directory, name);
      const code = `require('fs').writeFileSync(${JSON.stringify(record)}, JSON.stringify({ args: process.argv.slice(2), env: process.env }));${ending}`;
      await writeFile(path, `#!${process.execPath}\n${code}\n`);
      await chmod(path, 0o755);
      return path;
    },
    opened: async () => JSON.parse(await readFile(record, 'utf8')) as Opened,
    environment: (variables, platform = 'linux') => ({
      variables: { PATH: directory, ...variables },
      platform,
      homeDirectory: directory,
      uid: undefined,
    }),
  };
}

describe.skipIf(WINDOWS)('the program that BROWSER names', () => {
  test('the BROWSER program starts with the URL as its one argument, whatever spaces its name has', async () => {
    const { program, environment, opened } = await desk();
    const BROWSER = await program('my browser; echo $HOME');
    expect(await openBrowser(URL_OF_LOGIN, environment({ BROWSER }))).toBe(true);
    expect((await opened()).args).toEqual([URL_OF_LOGIN]);
  });

  test('looks the BROWSER program up on the PATH, and prefers it to the desktop’s browser', async () => {
    const { program, environment, opened } = await desk();
    await program('my browser');
    await program('xdg-open', 'process.exit(1)');
    expect(await openBrowser(URL_OF_LOGIN, environment({ BROWSER: 'my browser', DISPLAY: ':0' }))).toBe(true);
    expect((await opened()).args).toEqual([URL_OF_LOGIN]);
  });

  test.each([
    'https://as.example/a?x=$(touch$IFS/tmp/x)&y=`id`;z=|cat&w=%0a#"\'',
    'https://as.example/?a=1&&calc.exe&b=^"&c=%PATH%&d=!x!',
    'https://as.example/?q=--new-window -x <y> {z} ~ *',
    'http://127.0.0.1:8080/--version',
  ])('passes %s to the BROWSER program as one argument that no shell has read', async (url) => {
    const { program, environment, opened } = await desk();
    expect(await openBrowser(url, environment({ BROWSER: await program('browser') }))).toBe(true);
    expect((await opened()).args).toEqual([new URL(url).href]);
  });

  test('hides the passphrase from the BROWSER program, and passes it all other variables', async () => {
    const { program, environment, opened } = await desk();
    const BROWSER = await program('browser');
    const variables = { BROWSER, HOLDFAST_PASSPHRASE: 'a-secret', HOLDFAST_HOME: '/h', WAYLAND_DISPLAY: 'w' };
    expect(await openBrowser(URL_OF_LOGIN, environment(variables))).toBe(true);
    const { env } = await opened();
    expect(JSON.stringify(env).includes('a-secret')).toBe(false);
    expect(env).not.toHaveProperty('HOLDFAST_PASSPHRASE');
    expect(env).toMatchObject({ HOLDFAST_HOME: '/h', WAYLAND_DISPLAY: 'w' });
  });

  test('counts a BROWSER program that keeps running as opened', async () => {
    const { program, environment } = await desk();
    // The program ends after a while, so that the test leaves nothing running.
    const BROWSER = await program('browser', 'setTimeout(() => {}, 3000)');
    expect(await openBrowser(URL_OF_LOGIN, environment({ BROWSER }))).toBe(true);
  });

  test('does not count a BROWSER program that fails at once as opened', async () => {
    const { program, environment, opened } = await desk();
    for (const ending of ['process.exit(3)', 'process.kill(process.pid, "SIGKILL")']) {
      const BROWSER = await program('browser', ending);
      expect(await openBrowser(URL_OF_LOGIN, environment({ BROWSER }))).toBe(false);
      await opened();
    }
  });

  test('does not count a BROWSER program that is missing or no program as opened', async () => {
    const { directory, environment } = await desk();
    const file = join(directory, 'text');
    await writeFile(file, 'hello');
    for (const BROWSER of [
      'no-such-browser',
      join(directory, 'none'),
      directory,
      file,
      join(file, 'below'),
      ' ',
    ]) {
      expect(await openBrowser(URL_OF_LOGIN, environment({ BROWSER }))).toBe(false);
    }
  });

  test('cannot open a URL that is longer than any argument may be', async () => {
    const { program, environment } = await desk();
    const BROWSER = await program('browser');
    const url = `https://as.example/?${'x'.repeat(8 * 1024 * 1024)}`;
    expect(await openBrowser(url, environment({ BROWSER }))).toBe(false);
  });
});

describe.skipIf(WINDOWS)('the desktop’s own browser', () => {
  test.each(['DISPLAY', 'WAYLAND_DISPLAY'])(
    'opens the desktop’s browser if %s says that there is a desktop',
    async (name) => {
      const { program, environment, opened } = await desk();
      await program('xdg-open');
      const variables = { [name]: ':0', HOLDFAST_PASSPHRASE: 'a-secret' };
      expect(await openBrowser(URL_OF_LOGIN, environment(variables))).toBe(true);
      const { args, env } = await opened();
      expect(args).toEqual([URL_OF_LOGIN]);
      expect(env).not.toHaveProperty('HOLDFAST_PASSPHRASE');
    },
  );

  test('opens the browser of Windows in its subsystem for Linux', async () => {
    const { program, environment, opened } = await desk();
    await program('rundll32.exe');
    const variables = { WSL_DISTRO_NAME: 'Debian', DISPLAY: ':0' };
    expect(await openBrowser(URL_OF_LOGIN, environment(variables))).toBe(true);
    expect((await opened()).args).toEqual(['url.dll,FileProtocolHandler', URL_OF_LOGIN]);
  });

  test('reports a desktop’s browser that is missing or fails as not opened', async () => {
    const { program, environment } = await desk();
    expect(await openBrowser(URL_OF_LOGIN, environment({ DISPLAY: ':0' }))).toBe(false);
    await program('xdg-open', 'process.exit(3)');
    expect(await openBrowser(URL_OF_LOGIN, environment({ DISPLAY: ':0' }))).toBe(false);
  });

  test('opens no browser without a display', async () => {
    const { program, environment, opened } = await desk();
    await program('xdg-open');
    for (const variables of [{}, { BROWSER: '', DISPLAY: '' }]) {
      expect(await openBrowser(URL_OF_LOGIN, environment(variables))).toBe(false);
    }
    await expect(opened()).rejects.toThrow('ENOENT');
  });
});

describe('what opens a URL on other systems', () => {
  const openerOn = (platform: NodeJS.Platform, variables: Record<string, string> = {}) =>
    openerOf({ variables, platform, homeDirectory: '/', uid: undefined });

  test('opens a URL with the system’s own program, by its full path', () => {
    expect(openerOn('darwin')).toEqual(['/usr/bin/open']);
    expect(openerOn('win32')?.[0]).toBe('C:\\Windows\\System32\\rundll32.exe');
    expect(openerOn('win32', { SystemRoot: 'D:\\W' })?.[0]).toBe('D:\\W\\System32\\rundll32.exe');
  });

  test.each(['darwin', 'win32'] as const)('opens nothing on %s over SSH, except with BROWSER', (platform) => {
    const SSH_CONNECTION = '192.0.2.1 1 192.0.2.2 22';
    expect(openerOn(platform, { SSH_CONNECTION })).toBeUndefined();
    expect(openerOn(platform, { SSH_CONNECTION, BROWSER: 'b' })).toEqual(['b']);
  });
});

describe('a URL that is neither http nor https', () => {
  test.each([
    'javascript:alert(1)',
    'JavaScript:alert(1)',
    ' file:///etc/passwd',
    'data:text/html,<script>',
    'vbscript:x',
    'ms-settings:',
    'smb://evil.example/x',
    'mailto:x@example.com',
    'httpss://as.example/',
    '--version',
    'as.example/authorize',
    'https://',
    '',
  ])('refuses to open %j, and starts nothing', async (url) => {
    const { directory, program, environment, opened } = await desk();
    const BROWSER = WINDOWS ? join(directory, 'browser') : await program('browser');
    await expect(openBrowser(url, environment({ BROWSER, DISPLAY: ':0' }))).rejects.toThrow(UnsafeUrlError);
    await expect(opened()).rejects.toThrow('ENOENT');
  });
});
