import { canonicalResource, DEFAULT_ACCOUNT, recordId } from '../../credential.ts';
import { credentialOf } from '../../docker-agent/entry.ts';
import { openDockerAgent } from '../../docker-agent/open.ts';
import { HoldfastError } from '../../errors.ts';
import { dockerAgentLayoutOf, layoutOf } from '../../system/files/paths.ts';
import type { ExternalLogin } from '../../transfer/types.ts';
import { type FoundLogin, type Skipped, type Source, type SourceContext, sameTokens } from '../source.ts';

/*
 * docker-agent: one sealed file for all its logins, and the key in the OS keyring or in a directory beside the file.
 * The code behind --store docker-agent reads and writes them.
 */

/** Longer than the timeout of a refresh by another Holdfast with --store docker-agent. In milliseconds. */
const LEASE_WAIT_MS = 100_000;

export const DOCKER_AGENT: Source = {
  id: 'docker-agent',
  title: 'docker-agent',
  afterwards:
    'docker-agent, once it is started anew, asks for a login of its own when it uses that server again',
  find: async (context) => {
    const { bundle } = dockerAgentLayoutOf(context.environment, context.file);
    const logins: FoundLogin[] = [];
    const skipped: Skipped[] = [];
    const { entries, reports } = await withStore(context, async ({ store, keys }) => ({
      entries: await store.entries(),
      reports: keys.reports(),
    }));
    for (const [url, entry] of entries) {
      try {
        const login = loginOf(url, entry);
        logins.push({ login, name: url, file: bundle, take: () => take(context, url, login) });
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        skipped.push({ name: url, file: bundle, reason: error.message.replace(/\.$/, '') });
      }
    }
    if (entries.size > 0) return { logins, skipped, searched: [bundle] };
    // An older layout uses only the keyring. A keyring that does not open now may hold logins.
    for (const { id, status, reason = '' } of reports) {
      if (status === undefined || !['locked', 'denied', 'broken'].includes(status)) continue;
      skipped.push({ name: `keyring ${id}`, file: bundle, reason: reason.replace(/\.$/, '') });
    }
    return { logins, skipped, searched: [bundle] };
  },
};

function take(
  context: SourceContext,
  url: string,
  login: ExternalLogin,
): Promise<'taken' | 'changed' | 'gone'> {
  return withStore(context, async ({ store }) => {
    const id = recordId(canonicalResource(url), DEFAULT_ACCOUNT);
    const lease = await store.lock(id, { waitMs: LEASE_WAIT_MS });
    try {
      return await store.takeOut(url, (entry) => sameTokens(loginOf(url, entry), login));
    } finally {
      await lease.release();
    }
  });
}

/** docker-agent's key stays in docker-agent's keyring, whichever keyring Holdfast uses for its own key. */
async function withStore<T>(
  { environment, file }: SourceContext,
  step: (parts: ReturnType<typeof openDockerAgent>) => Promise<T>,
): Promise<T> {
  const parts = openDockerAgent(environment, layoutOf(environment), {
    keyring: 'auto',
    dockerAgentDir: file,
  });
  try {
    return await step(parts);
  } finally {
    await Promise.all([parts.store.close(), parts.keys.close()]);
  }
}

/** @throws RecordDamagedError, InvalidArgumentError if it is not docker-agent's entry for a server */
function loginOf(url: string, entry: unknown): ExternalLogin {
  const { tokens, client, server, grantedScope, requestedScope } = credentialOf(url, entry, []);
  const { accessToken, refreshToken, tokenType, obtainedAt, expiresAt } = tokens;
  const { clientId, clientSecret } = client;
  return {
    from: 'docker-agent',
    resource: url,
    accessToken,
    refreshToken,
    tokenType,
    obtainedAt: obtainedAt === 0 ? undefined : obtainedAt,
    expiresAt,
    scope: grantedScope,
    requestedScope,
    client: clientId === '' ? undefined : { id: clientId, secret: clientSecret },
    issuer: server.issuer || undefined,
  };
}
