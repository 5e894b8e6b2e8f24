import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { OAuthError } from '../../../src/errors.ts';
import type { Servers } from '../servers/servers.ts';
import type { AssertionServer } from '../servers/vouching-servers.ts';
import type { Home } from './home.ts';

/* What logins by the word of others have in common. */

export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** The MCP server names that authorization server from now on, and takes its tokens only. */
export async function named(servers: Servers, as: AssertionServer): Promise<AssertionServer> {
  await servers.name([{ ...servers, issuer: as.issuer, tokens: as.tokens }]);
  return as;
}

/** A file beside the home, as a platform would write it. */
export async function written(home: Home, token: string): Promise<string> {
  const file = join(home.path, '..', 'token.jwt');
  await writeFile(file, `${token}\n`, { mode: 0o600 });
  return file;
}

/** The error of a server that this fails with. */
export async function refusal(promise: Promise<unknown>): Promise<OAuthError> {
  const thrown: unknown = await promise.then(
    () => 'It did not fail.',
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(OAuthError);
  return thrown as OAuthError;
}
