import { existsSync } from 'node:fs';
import type { Environment } from './environment.ts';
import { openerOf } from './processes/browser.ts';

/** What marks a container from within (Docker and BuildKit, Podman). */
const CONTAINER_MARKS = ['/.dockerenv', '/run/.containerenv'];

/**
 * Why no browser can be opened from here, as the end of a sentence; `undefined` where one can. A browser that `BROWSER`
 * names counts, whatever the place: Codespaces and dev containers bring one that opens on the person's machine.
 */
export function whyNoBrowser(environment: Environment): string | undefined {
  if (openerOf(environment) !== undefined) return undefined;
  return whyElsewhere(environment) ?? 'there is no display';
}

/**
 * Why the person's browser is on another machine than this, as the end of a sentence. What it is sent back to on its own
 * machine may then not lead here, even where it could be opened from here. `undefined` where nothing says so.
 */
export function whyElsewhere({ variables }: Environment): string | undefined {
  if (variables['CI']) return 'this is a CI job';
  if (variables['SSH_CONNECTION'] || variables['SSH_TTY']) return 'you are connected over SSH';
  if (variables['CODESPACES']) return 'this is a codespace';
  if (variables['KUBERNETES_SERVICE_HOST']) return 'this is a pod of Kubernetes';
  if (variables['container'] || CONTAINER_MARKS.some((path) => existsSync(path)))
    return 'this is a container';
  return undefined;
}
