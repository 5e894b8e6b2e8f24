import { existsSync } from 'node:fs';
import type { Environment } from './environment.ts';
import { openerOf } from './processes/browser.ts';

/** Files that exist only inside a container (Docker and BuildKit, Podman). */
const CONTAINER_MARKS = ['/.dockerenv', '/run/.containerenv'];

/**
 * Says, as the end of a sentence, why this process cannot open a browser; `undefined` if it can. A browser that
 * `BROWSER` names counts in every environment: Codespaces and dev containers set one that opens on the person's
 * machine.
 */
export function whyNoBrowser(environment: Environment): string | undefined {
  if (openerOf(environment) !== undefined) return undefined;
  return whyElsewhere(environment) ?? 'there is no display';
}

/**
 * Says, as the end of a sentence, why the person's browser is on another machine; `undefined` if nothing indicates
 * that. Even if this process can open that browser, a redirect to the browser's own machine may not reach this one.
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
