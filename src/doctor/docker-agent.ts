import { hasBundle, underLock } from '../docker-agent/files.ts';
import { HIDDEN_KEY, isKeyHidden } from '../docker-agent/hidden-key.ts';
import type { openDockerAgent } from '../docker-agent/open.ts';
import { HoldfastError, LockTimeoutError } from '../errors.ts';
import type { Environment } from '../system/environment.ts';
import { shellPath } from '../system/files/storage-error.ts';
import { type Finding, failed, failureOf, ok, warning } from './finding.ts';

/*
 * The checks of `doctor` for docker-agent's own files, instead of the checks for ours. They neither make nor test a
 * key.
 */

type Parts = ReturnType<typeof openDockerAgent>;

const LOCK_WAIT_MS = 1000;

/** Reports the keyring with docker-agent's key, and why others were skipped. */
export async function dockerAgentKey(
  { keys, resolution, files }: Parts,
  environment: Environment,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const { keyringId } of keys.reachable()) {
    findings.push(ok('keyring', `docker-agent’s key is in ${keyringId}.`));
    if (await isKeyHidden(environment, keyringId, files.layout.home)) {
      findings.push(warning('keyring', HIDDEN_KEY.message, HIDDEN_KEY.hint));
    }
    break;
  }
  if (findings.length === 0) {
    findings.push(
      (await hasBundle(files))
        ? failed(
            'keyring',
            'No keyring has docker-agent’s key, and there are tokens that it seals.',
            'Run Holdfast where docker-agent made its logins: in the same desktop session, or with its files.',
          )
        : ok('keyring', 'docker-agent has no key yet; the first login makes one.'),
    );
  }
  for (const { id, outcome, status, reason, hint } of resolution.reports()) {
    if (outcome !== 'passed-over') continue;
    const message = `${id} is passed over (${status}): ${reason}`;
    findings.push(
      status === 'absent' ? { ...ok('keyring', message), hint } : warning('keyring', message, hint),
    );
  }
  return findings;
}

export async function dockerAgentBundle({ store, files }: Parts): Promise<Finding[]> {
  const at = shellPath(files.bundle);
  if (!(await hasBundle(files))) return [ok('store', `docker-agent has no ${at} yet.`)];
  const { size } = await store.entries();
  return [ok('store', `${at} opens, and has ${size} ${size === 1 ? 'entry' : 'entries'}.`)];
}

export async function dockerAgentLock({ files }: Parts, environment: Environment): Promise<Finding[]> {
  if (!(await hasBundle(files))) return [];
  try {
    await underLock(files, environment, async () => {}, LOCK_WAIT_MS);
    return [ok('lock', `${shellPath(files.lock)} was taken and given back: nobody holds it.`)];
  } catch (error) {
    if (error instanceof LockTimeoutError) return [warning('lock', error.message, error.hint)];
    if (error instanceof HoldfastError) return [failureOf('lock', error, [])];
    throw error;
  }
}
