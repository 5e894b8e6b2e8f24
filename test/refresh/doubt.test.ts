import { describe, expect, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import { NetworkError, TimeoutError } from '../../src/errors.ts';
import { RetryState } from '../../src/refresh/retry-state.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import {
  authorizationServer,
  credentialsAt,
  directoryProcess,
  machine,
  putLogin,
  RESOURCE,
} from '../support/servers/lab.ts';

/* The server may still process a request that got no answer, so nobody sends the same refresh token in the meantime. */

/** A login whose last refresh ended with this error `agoMs` milliseconds ago, by the note of its lease. */
async function afterFailure(error: TimeoutError | NetworkError, agoMs: number) {
  const server = await authorizationServer('strict');
  const at = await machine({ replay: 'strict' });
  const disk = new DirectoryStore(at.layout, at.environment);
  const { family, refreshToken } = await server.begin();
  await putLogin(disk, at, { server, refreshToken });
  const { credentialStore } = credentialsAt(disk, at);
  const found = (await credentialStore.find(CredentialId.of(RESOURCE, undefined)))?.held;
  if (found === undefined) throw new Error('It is gone.');
  const then = Date.now() - agoMs;
  const { noteText } = RetryState.read(undefined, found.credential, then).failed(error, then, true);
  const lease = await disk.lock(found.address.id, { waitMs: 1000 });
  await lease.setNote(noteText);
  await lease.release();
  return { server, family, token: () => directoryProcess(at).vault.token(RESOURCE, { timeoutMs: 5000 }) };
}

const DOUBTS = [
  ['a timeout', new TimeoutError('The server did not answer.')],
  ['the word of a gateway', new NetworkError('HTTP 504.', { inDoubtMs: 60_000 })],
] as const;

describe.each(DOUBTS)('a refresh in doubt after %s', (_what, error) => {
  test('another process sends nothing for a minute, and says that the server may still be busy', async () => {
    const { server, token } = await afterFailure(error, 50_000);
    await expect(token()).rejects.toMatchObject({
      code: 'timeout',
      message: expect.stringContaining('may still be at it'),
    });
    expect(server.presented).toEqual([]);
  });

  test('another process refreshes once the minute is over', async () => {
    const { server, family, token } = await afterFailure(error, 61_000);
    expect((await token()).generation).toBe(2);
    expect(server.presented).toHaveLength(1);
    expect(server.hasEnded(family)).toBe(false);
  });
});
