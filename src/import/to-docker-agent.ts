import { canonicalResource, DEFAULT_ACCOUNT, recordId } from '../credential.ts';
import { parseCredential } from '../credential-record.ts';
import { openDockerAgent } from '../docker-agent/open.ts';
import { KeyUnavailableError, StorageUnwritableError } from '../errors.ts';
import type { Environment } from '../system/environment.ts';
import { dockerAgentLayoutOf, layoutOf } from '../system/files/paths.ts';
import { hasOneAlready, type Recipient } from './recipient.ts';

/**
 * Writes the login into docker-agent's own file, as one more entry.
 *
 * @param options.dockerAgentDir its configuration directory, if it is not `~/.config/cagent`
 */
export function dockerAgent(
  url: string,
  environment: Environment,
  { replace, dockerAgentDir }: { replace: boolean; dockerAgentDir: string | undefined },
): Recipient {
  const resource = canonicalResource(url);
  const id = recordId(resource, DEFAULT_ACCOUNT);
  const open = () => openDockerAgent(environment, layoutOf(environment), { keyring: 'auto', dockerAgentDir });
  const withStore = async <T>(step: (parts: ReturnType<typeof open>) => Promise<T>): Promise<T> => {
    const parts = open();
    try {
      return await step(parts);
    } finally {
      await Promise.all([parts.store.close(), parts.keys.close()]);
    }
  };
  return {
    title: 'docker-agent',
    context: dockerAgentLayoutOf(environment, dockerAgentDir).bundle,
    check: () =>
      withStore(async ({ store }) => {
        if (!replace && (await store.kidsOf(id)).length > 0) throw hasOneAlready('docker-agent', resource);
      }),
    put: (login) =>
      withStore(async ({ store, persistent, keys }) => {
        const key = await keys.strongest();
        if (key.lifetime === 'process') {
          throw new KeyUnavailableError('No keyring is here that docker-agent could find its key in again.', {
            hint: 'See why: holdfast doctor --store docker-agent',
          });
        }
        const credential = parseCredential(Buffer.from(login.json.reveal(), 'utf8'));
        const address = { kid: key.kid, id };
        const before = await store.version(address);
        if (before !== undefined && !replace) throw hasOneAlready('docker-agent', resource);
        // docker-agent has one login per server.
        const next = { ...credential, account: DEFAULT_ACCOUNT };
        const { outcome } = await persistent.write(address, key, before, next);
        if (outcome === 'written') return;
        throw new StorageUnwritableError('docker-agent changed that login while it was to be written.', {
          hint: 'Nothing was exported. Try again.',
        });
      }),
  };
}
