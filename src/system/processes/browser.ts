import { type ChildProcess, spawn } from 'node:child_process';
import { UnsafeUrlError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../environment.ts';
import { withoutSecrets } from './secret-variables.ts';

/** Time limit for a browser command to fail, in milliseconds. A command that still runs then has opened its window. */
const SETTLE_MS = 1_000;

/**
 * Opens a URL in the person's browser: the program that `BROWSER` names, else the desktop's own. Never uses a shell,
 * and never opens any scheme but http and https. (CVE-2025-6514 was this call, with a URL from a server.)
 *
 * @returns `false` when there is no browser to open, or it failed at once; the caller then shows the URL
 * @throws UnsafeUrlError
 */
export async function openBrowser(url: string, environment: Environment): Promise<boolean> {
  const href = checked(url);
  const opener = openerOf(environment);
  if (opener === undefined) return false;
  const [program, ...args] = opener;
  let child: ChildProcess;
  try {
    const env = withoutSecrets(environment.variables);
    child = spawn(program, [...args, href], { stdio: 'ignore', detached: true, env });
  } catch {
    // Most failures to start are events. A path through a file that is not a directory, or too long a URL, throws
    // instead.
    return false;
  }
  child.unref();
  return survives(child);
}

function checked(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol !== 'https:' && parsed?.protocol !== 'http:') {
    throw new UnsafeUrlError(`${quote(url)} is neither http nor https, and was not opened.`);
  }
  return parsed.href;
}

/**
 * Returns the program that opens a URL, with its arguments before the URL; `undefined` if nobody would see the window.
 */
export function openerOf({ platform, variables }: Environment): readonly [string, ...string[]] | undefined {
  const { BROWSER, SSH_CONNECTION, SystemRoot, WSL_DISTRO_NAME, DISPLAY, WAYLAND_DISPLAY } = variables;
  if (BROWSER) return [BROWSER];
  // macOS and Windows always have a desktop, but over SSH the person sits at another machine.
  if (platform === 'darwin') return SSH_CONNECTION ? undefined : ['/usr/bin/open'];
  if (platform === 'win32') {
    // The full path, since Windows searches the current directory first.
    const rundll32 = `${SystemRoot || 'C:\\Windows'}\\System32\\rundll32.exe`;
    return SSH_CONNECTION ? undefined : [rundll32, 'url.dll,FileProtocolHandler'];
  }
  if (WSL_DISTRO_NAME) return SSH_CONNECTION ? undefined : ['rundll32.exe', 'url.dll,FileProtocolHandler'];
  return DISPLAY || WAYLAND_DISPLAY ? ['xdg-open'] : undefined;
}

/** Tells whether the program started and did not fail within `SETTLE_MS`. */
function survives(child: ChildProcess): Promise<boolean> {
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
