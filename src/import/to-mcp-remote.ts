import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Credential } from '../credential.ts';
import { parseCredential } from '../credential-record.ts';
import { InvalidArgumentError } from '../errors.ts';
import { writeFileAtomically } from '../system/files/atomic-file.ts';
import { isThere } from '../system/files/client-file.ts';
import { checkCanMakeDirectory } from '../system/files/private-directory.ts';
import { shellPath } from '../system/files/storage-error.ts';
import type { ExportedLogin } from '../transfer/types.ts';
import { lease } from './programs/mcp-remote.ts';
import { hasOneAlready, type Recipient } from './recipient.ts';

/*
 * Writes mcp-remote's two files for a login. Their name is a hash of the URL on mcp-remote's command line, so export
 * that exact URL.
 */

/**
 * @param url of the MCP server, as on mcp-remote's command line
 * @param directory mcp-remote's `mcp-remote-v1`, as an absolute path
 */
export function mcpRemote(url: string, directory: string, { replace }: { replace: boolean }): Recipient {
  const name = createHash('md5').update(url).digest('hex');
  const pathOf = (what: string) => join(directory, `${name}_${what}.json`);
  const check = async () => {
    if (!(await isThere(directory))) {
      throw new InvalidArgumentError(`There is no directory ${shellPath(directory)}.`, {
        hint: `mcp-remote’s own is ~/.mcp-auth/mcp-remote-v1. To make it: mkdir -p -m 700 ${shellPath(directory)}`,
      });
    }
    if (!replace && (await isThere(pathOf('tokens')))) throw hasOneAlready('mcp-remote', url);
    await checkCanMakeDirectory(pathOf('tokens'));
  };
  return {
    title: 'mcp-remote',
    context: pathOf('tokens'),
    check,
    put: async (login) => {
      const release = await lease(pathOf('refresh_in_progress'));
      try {
        await check();
        const credential = parseCredential(Buffer.from(login.json.reveal(), 'utf8'));
        // The registration comes first, since without tokens it is not a login. Without a refresh token it is not
        // needed.
        if (login.canRefresh) {
          await write(pathOf('client_info'), registrationOf(credential, name), directory, true);
        }
        if (!(await write(pathOf('tokens'), mcpRemoteTokens(credential, login), directory, replace))) {
          throw hasOneAlready('mcp-remote', url);
        }
      } finally {
        await release();
      }
    },
  };
}

async function write(path: string, values: object, temporary: string, replace: boolean): Promise<boolean> {
  const bytes = Buffer.from(JSON.stringify(values, null, 2), 'utf8');
  return (await writeFileAtomically(path, bytes, { temporary, exclusive: !replace })) !== 'exists';
}

function mcpRemoteTokens({ tokens, server, grantedScope }: Credential, login: ExportedLogin): object {
  const { accessToken, refreshToken, tokenType, expiresAt } = tokens;
  // No `requested_scope`: mcp-remote discards tokens that were requested with other scopes than its own.
  return {
    access_token: accessToken.reveal(),
    token_type: tokenType,
    expires_in:
      expiresAt === undefined ? undefined : Math.max(0, Math.round((expiresAt - Date.now()) / 1000)),
    refresh_token: login.canRefresh ? refreshToken?.reveal() : undefined,
    scope: grantedScope,
    expires_at: expiresAt,
    issuer: server.issuer,
  };
}

function registrationOf({ client, server }: Credential, name: string): object {
  const { clientId, clientSecret, clientSecretExpiresAt, authMethod, redirectUris } = client;
  // When it starts, mcp-remote discards a registration that is not for its own callback, and then it cannot refresh. It
  // takes the callback's port from the name.
  const port = 3335 + (Number.parseInt(name.slice(0, 4), 16) % 45_816);
  const callbacks = ['localhost', '127.0.0.1'].map((host) => `http://${host}:${port}/oauth/callback`);
  return {
    client_id: clientId,
    client_secret: clientSecret?.reveal(),
    client_secret_expires_at:
      clientSecretExpiresAt === undefined ? undefined : Math.floor(clientSecretExpiresAt / 1000),
    redirect_uris: [...new Set([...redirectUris, ...callbacks])],
    token_endpoint_auth_method: authMethod,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    issuer: server.issuer,
  };
}
