import { spawn } from 'node:child_process';
import { UnsafeUrlError } from '../errors.ts';
import { quote } from '../quote.ts';
import type { Environment } from './environment.ts';

/** How long a browser command may take to fail, in milliseconds: one that still runs then has opened its window. */
const SETTLE_MS = 1_000;

/**
 * Opens a URL in the person's browser: the program that `BROWSER` names, else the desktop's own. Never through a shell,
 * and never anything but http and https (CVE-2025-6514 was this call, with a URL from a server).
 *
 * @returns `false` when there is no browser to open, or it failed at once; the caller then shows the URL
 * @throws UnsafeUrlError
 */
export async function openBrowser(url: string, environment: Environment): Promise<boolean> {
  const { protocol, href } = new URL(url);
  if (protocol !== 'https:' && protocol !== 'http:') {
    throw new UnsafeUrlError(`${quote(url)} is neither http nor https, and was not opened.`);
  }
  const program = environment.variables['BROWSER'];
  if (program) return run(program, [href]);
  if (!hasDesktop(environment)) return false;
  try {
    const { default: open } = await import('open');
    const child = await open(href);
    child.unref();
    return await survives(child);
  } catch {
    return false;
  }
}

/** Without a display, a browser started from here would be one in the terminal, or none. */
function hasDesktop({ platform, variables }: Environment): boolean {
  if (platform === 'darwin' || platform === 'win32') return true;
  return Boolean(variables['DISPLAY'] || variables['WAYLAND_DISPLAY'] || variables['WSL_DISTRO_NAME']);
}

function run(program: string, args: readonly string[]): Promise<boolean> {
  const child = spawn(program, args, { stdio: 'ignore', detached: true });
  child.unref();
  return survives(child);
}

/** Whether the program started and did not fail within its first moments. */
function survives(child: ReturnType<typeof spawn>): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(true), SETTLE_MS);
    const settle = (opened: boolean) => {
      clearTimeout(timer);
      resolve(opened);
    };
    child.once('error', () => settle(false));
    child.once('exit', (code) => settle(code === 0));
  });
}
