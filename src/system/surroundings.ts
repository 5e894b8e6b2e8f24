import { existsSync } from 'node:fs';
import { openerOf } from './browser.ts';
import type { Environment } from './environment.ts';

/** What marks a container from within (Docker and BuildKit, Podman). */
const CONTAINER_MARKS = ['/.dockerenv', '/run/.containerenv'];

/**
 * Why no browser can be opened from here, as the end of a sentence; `undefined` where one can. A browser that `BROWSER`
 * names counts, whatever the place: Codespaces and dev containers bring one that opens on the person's machine.
 */
export function whyNoBrowser(environment: Environment): string | undefined {
  if (openerOf(environment) !== undefined) return undefined;
  const { variables } = environment;
  if (variables['CI']) return 'this is a CI job';
  if (variables['SSH_CONNECTION'] || variables['SSH_TTY']) return 'you are connected over SSH';
  if (variables['CODESPACES']) return 'this is a codespace';
  if (variables['KUBERNETES_SERVICE_HOST']) return 'this is a pod of Kubernetes';
  if (variables['container'] || CONTAINER_MARKS.some((path) => existsSync(path)))
    return 'this is a container';
  return 'there is no display';
}
