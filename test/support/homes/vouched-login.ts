import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { OAuthError } from '../../../src/errors.ts';
import type { Servers } from '../servers/servers.ts';
import type { AssertionServer } from '../servers/vouching-servers.ts';
import type { Home } from './home.ts';

/* Shared parts of logins with an assertion by another party. */

export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** Makes the MCP server name that authorization server, and accept only its tokens. */
export async function named(servers: Servers, as: AssertionServer): Promise<AssertionServer> {
  await servers.name([{ ...servers, issuer: as.issuer, tokens: as.tokens }]);
  return as;
}

/** Writes a token to a file beside the home, as a platform would. */
export async function written(home: Home, token: string): Promise<string> {
  const file = join(home.path, '..', 'token.jwt');
  await writeFile(file, `${token}\n`, { mode: 0o600 });
  return file;
}

/** Returns the OAuth error that the promise fails with. */
export async function refusal(promise: Promise<unknown>): Promise<OAuthError> {
  const thrown: unknown = await promise.then(
    () => 'It did not fail.',
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(OAuthError);
  return thrown as OAuthError;
}
